"""``openmedlab axons``: light-sheet volumes of any size to labels, skeletons and lengths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openmedlab.cli.console import interruptible, progress, result, say, table
from openmedlab.cli.group import Group

if TYPE_CHECKING:
    from openmedlab.axons.measure import Measured
    from openmedlab.axons.segment import AxonRun, Segmented
    from openmedlab.blocks import Crew

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    help="Axons in light-sheet volumes of any size: labels, skeletons, lengths.",
)

Out = Annotated[Path | None, typer.Option("-o", "--out", help="Where the result goes.")]
Workers = Annotated[int, typer.Option(help="Processes on this machine; 0 works in this one.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler to use instead.")]
Gpus = Annotated[str, typer.Option(help="One worker for each of these GPUs: 0,1,...")]
Memory = Annotated[str | None, typer.Option(help="Memory limit of a worker, such as 8GB.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def segment(
    image: Annotated[Path, typer.Argument(help="OME-Zarr, TIFF stack or series, HDF5 or N5.")],
    out: Out = None,
    method: Annotated[str | None, typer.Option(help="axon-small, ridge, axon-seg, ...")] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights of the method's network.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Lowest probability of axon.")] = None,
    smallest: Annotated[int | None, typer.Option(help="Fewest voxels of a piece.")] = None,
    block: Annotated[str, typer.Option(help="Voxels of a block: one number or z,y,x.")] = "256",
    name: Annotated[str, typer.Option(help="Name of the labels.")] = "axons",
    probabilities: Annotated[bool, typer.Option(help="Keep the probabilities too.")] = False,
    channel: Annotated[int | None, typer.Option(help="Channel, from 0.")] = None,
    time: Annotated[int | None, typer.Option(help="Time point, from 0.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Array in an HDF5 or N5 container.")] = None,
    spacing: Annotated[str | None, typer.Option(help="Voxel size z,y,x in micrometres.")] = None,
    level: Annotated[int, typer.Option(help="Pyramid level; 0 is the finest.")] = 0,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew.")] = False,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    gpus: Gpus = "",
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Segment IMAGE block by block; labels go into an OME-Zarr image, else beside it.

    A run that was stopped, killed or failed goes on where it was when repeated.
    """
    from openmedlab.axons.methods import default_method
    from openmedlab.axons.segment import AxonRun
    from openmedlab.blocks import ImageSource

    size = _numbers(spacing, "A voxel size", float) if spacing else None
    source = ImageSource(image, channel, time, dataset, size, level)
    run = AxonRun(
        source,
        method or default_method(),
        weights,
        threshold,
        smallest,
        _numbers(block, "A block", int),
        name,
        out,
        probabilities,
    )
    with _crew(workers, scheduler, gpus, memory) as crew:
        made = _segment(run, crew, restart)
    record = {**asdict(made), "labels": str(made.labels)}
    text = (
        f"{made.labels}\n{made.components} pieces of axon, {made.voxels} voxels; "
        f"{made.blocks} blocks, {made.empty} of them empty"
        f"{'; kept from an earlier run' if made.kept else ''}"
    )
    result(record, text, as_json)


def _segment(run: AxonRun, crew: Crew, restart: bool = False) -> Segmented:
    from openmedlab.axons.segment import segment_volume

    with progress(f"Segmenting with {run.method}") as report, interruptible() as cancel:
        return segment_volume(run, crew, restart=restart, progress=report, cancel=cancel)


@app.command()
def skeletonize(
    labels: Annotated[Path, typer.Argument(help="OME-Zarr labels, as 'segment' makes them.")],
    out: Out = None,
    workers: Workers = 1,
    scheduler: Scheduler = None,
    memory: Memory = None,
    as_json: AsJson = False,
) -> None:
    """Thin LABELS to centre lines: labels NAME_skeleton, and a graph in Parquet files."""
    from openmedlab.axons.skeleton import skeletonize_volume

    with (
        _crew(workers, scheduler, "", memory) as crew,
        progress("Thinning") as report,
        interruptible() as cancel,
    ):
        made = skeletonize_volume(labels, crew, out=out, progress=report, cancel=cancel)
    record = {**asdict(made), "skeleton": str(made.skeleton), "graph": str(made.graph)}
    text = f"{made.skeleton}\n{made.graph}\n{made.length_um / 1000:.3f} mm, {made.nodes} voxels"
    result(record, text, as_json)


@app.command()
def measure(
    graph: Annotated[Path, typer.Argument(help="Graph folder, as 'skeletonize' makes it.")],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Table of regions: .csv or .parquet.")
    ] = None,
    annotation: Annotated[
        Path | None, typer.Option(help="Labelled volume of regions, in the image's world.")
    ] = None,
    names: Annotated[
        Path | None, typer.Option(help="CSV of the regions: id, name, acronym, parent.")
    ] = None,
    atlas: Annotated[
        str | None, typer.Option(help="BrainGlobe atlas the image is registered to.")
    ] = None,
    density: Annotated[
        Path | None, typer.Option(help="OME-Zarr for a map of mm of axon in a mm³.")
    ] = None,
    cell: Annotated[float, typer.Option(help="Side of the map's cells in micrometres.")] = 50.0,
    pieces: Annotated[
        Path | None, typer.Option(help="Table of all pieces by length: .csv or .parquet.")
    ] = None,
    swc: Annotated[Path | None, typer.Option(help="Folder for SWC files.")] = None,
    longest: Annotated[int, typer.Option(help="How many pieces become SWC.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Measure axons by region: length, density, branch points, orientation."""
    from openmedlab.axons.export import region_columns, write_swc, write_table
    from openmedlab.axons.measure import measure_graph
    from openmedlab.axons.regions import Regions
    from openmedlab.core import InputError
    from openmedlab.io import write_volume

    if annotation is not None and atlas is not None:
        raise InputError("Give an annotation or an atlas, not both.")
    if names is not None and annotation is None:
        raise InputError("Names belong to an annotation; give that too.")
    regions = Regions.read(annotation, names) if annotation else None
    regions = Regions.of_atlas(atlas) if atlas else regions
    with progress("Measuring") as report, interruptible() as cancel:
        found = measure_graph(
            graph, regions, cell_um=cell if density else None, progress=report, cancel=cancel
        )
    if out is not None:
        write_table(region_columns(found.regions), out)
    if pieces is not None:
        write_table(found.components, pieces)
    if density is not None and found.density is not None:
        write_volume(found.density, density)
    files = write_swc(graph, swc, _longest(found, longest)) if swc else []
    record = {
        "length_mm": found.length_mm,
        "regions": [asdict(row) for row in found.regions],
        "pieces": len(found.components["component"]),
        "swc": [str(f) for f in files],
    }
    result(record, _region_text(found), as_json)


def _longest(found: Measured, count: int) -> list[int]:
    pieces = sorted(
        zip(found.components["length_um"], found.components["component"], strict=True),
        key=lambda piece: (-piece[0], piece[1]),
    )
    return [int(number) for _, number in pieces[:count]]


def _region_text(found: Measured) -> str:
    header = ("region", "mm³", "mm", "mm/mm³", "branch points", "ends")
    rows: list[tuple[str, ...]] = [
        (
            row.name,
            f"{row.total_volume_mm3:.4g}",
            f"{row.total_length_mm:.4g}",
            f"{row.total_length_mm / row.total_volume_mm3:.4g}" if row.total_volume_mm3 else "-",
            str(row.branch_points),
            str(row.end_points),
        )
        for row in found.regions
    ]
    return table(header, rows)


@app.command()
def train(
    cubes: Annotated[
        Path,
        typer.Argument(help="Folder of NAME_image, NAME_label or NAME_rough, NAME_artefact."),
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="Folder for the weights and the checkpoint.")
    ],
    start: Annotated[
        str, typer.Option(help="Weights to start from: axon-small, a file, or 'nothing'.")
    ] = "axon-small",
    epochs: Annotated[int, typer.Option(help="How often every voxel is seen, at most.")] = 30,
    image: Annotated[
        Path | None,
        typer.Option(help="The volume they were cut from; sets the grey scale, as in a run."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune the bundled network on your own cubes; a stopped training goes on."""
    from openmedlab.axons import training
    from openmedlab.axons.statistics import measure as statistics_of
    from openmedlab.blocks import ImageSource

    found = training.read_cubes(cubes)
    say(f"{len(found)} cubes: {', '.join(cube.name for cube in found)}")
    with progress("Training") as report, interruptible() as cancel:
        array = ImageSource(image).open().array if image else None
        statistics = None if array is None else statistics_of(array, report, cancel)
        weights = training.train(
            found,
            out,
            None if start == "nothing" else start,
            epochs,
            progress=report,
            cancel=cancel,
            statistics=statistics,
        )
    text = f"{weights}\nuse it with: openmedlab axons segment IMAGE --weights {weights}"
    result({"weights": str(weights)}, text, as_json)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder for what is made.")] = Path(
        "axons-demo"
    ),
    method: Annotated[str | None, typer.Option(help="axon-small, ridge, ...")] = None,
    workers: Workers = 1,
    as_json: AsJson = False,
) -> None:
    """Make a small brain of winding axons, do all steps on it, and leave a picture."""
    from openmedlab.axons.demo import picture, winding_axons
    from openmedlab.axons.export import region_columns, write_swc, write_table
    from openmedlab.axons.measure import measure_graph
    from openmedlab.axons.methods import default_method
    from openmedlab.axons.segment import AxonRun
    from openmedlab.axons.skeleton import skeletonize_volume
    from openmedlab.blocks import ImageSource
    from openmedlab.io import write_volume
    from openmedlab.io.lazy import open_volume

    brain = winding_axons((48, 128, 160), fibres=14)
    image = out / "brain.ome.zarr"
    _clear(image)
    write_volume(brain, image)
    run = AxonRun(ImageSource(image), method or default_method(), block=(64, 64, 192))
    with _crew(workers, None, "", None) as crew:
        made = _segment(run, crew)
        skeleton = skeletonize_volume(made.labels, crew, out=out / "graph")
    found = measure_graph(skeleton.graph, cell_um=25.0)
    write_table(region_columns(found.regions), out / "regions.csv")
    write_table(found.components, out / "pieces.parquet")
    write_swc(skeleton.graph, out / "swc", _longest(found, 10))
    if found.density is not None:
        write_volume(found.density, out / "density.ome.zarr")
    title = f"{made.components} pieces, {found.length_mm:.2f} mm ({run.method})"
    shown = picture(brain.read(), open_volume(made.labels).read(), out / "axons.png", title)
    record = {
        "method": run.method,
        "components": made.components,
        "length_mm": found.length_mm,
        "picture": str(shown),
    }
    result(record, f"{title}\n{_region_text(found)}\n{shown}", as_json)


def _clear(image: Path) -> None:
    """Remove what an earlier demo left."""
    import shutil

    shutil.rmtree(image, ignore_errors=True)
    shutil.rmtree(image.parent / "graph", ignore_errors=True)


@contextmanager
def _crew(workers: int, scheduler: str | None, gpus: str, memory: str | None) -> Iterator[Crew]:
    from openmedlab.blocks import crew
    from openmedlab.core import InputError

    if workers < 0:
        raise InputError(f"There cannot be {workers} workers; give 0 or more.")
    names = [n.strip() for n in gpus.split(",") if n.strip()]
    with crew(workers, scheduler=scheduler, gpus=names, memory=memory) as hands:
        yield hands


def _numbers(text: str, what: str, kind: type) -> Any:
    """Return three numbers from ``256`` or ``128,256,256``."""
    from openmedlab.core import InputError

    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) == 1:
        values *= 3
    if len(values) != 3 or min(values) <= 0:
        raise InputError(f"{what} is one positive number or three (z,y,x), not {text!r}.")
    return values
