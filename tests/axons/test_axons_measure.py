"""Skeletons and lengths against figures known in advance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from axon_helpers import use_blur, write_image
from pyarrow import parquet
from scipy import ndimage

from openmedlab.axons import skeleton as skeleton_module
from openmedlab.axons.export import region_columns, write_swc, write_table
from openmedlab.axons.graph import REACH, block_graph, skeleton_of
from openmedlab.axons.measure import measure_graph
from openmedlab.axons.regions import Regions
from openmedlab.axons.segment import AxonRun, segment_volume
from openmedlab.axons.skeleton import skeletonize_volume
from openmedlab.blocks import ImageSource, crew
from openmedlab.core import Geometry, InputError, Label, LabelVolume, Region
from openmedlab.io import write_labels

SPACING = (3.0, 1.5, 1.5)


@pytest.fixture(scope="module")
def here():
    with crew(0) as workers:
        yield workers


def line(shape, start, stop) -> np.ndarray:
    """A digital line, one voxel at every step of its longest axis."""
    steps = int(np.abs(np.subtract(stop, start)).max()) + 1
    place = np.linspace(start, stop, steps)
    image = np.zeros(shape, np.uint8)
    image[tuple(np.rint(place).astype(int).T)] = 1
    return image


def whole_graph(skeleton: np.ndarray, spacing=SPACING):
    geometry = Geometry.from_spacing(skeleton.shape, spacing, unit="micrometer")
    region = Region.whole(skeleton.shape)
    return block_graph(skeleton, skeleton > 0, region, region, geometry)


@pytest.mark.parametrize(
    "stop", [(5, 5, 95), (45, 5, 5), (45, 60, 5), (30, 40, 90), (45, 50, 52), (12, 70, 33)]
)
def test_length_of_a_line_in_any_direction(stop):
    start = (5, 5, 5)
    graph = whole_graph(line((50, 80, 100), start, stop))
    truth = np.linalg.norm((np.array(stop) - start) * SPACING)
    assert graph.nodes["length_um"].sum() == pytest.approx(truth, rel=0.04)
    assert graph.nodes["end"].sum() == 2
    assert graph.nodes["branch"].sum() == 0
    towards = (np.array(stop) - start)[::-1] * SPACING[::-1] / truth
    main = np.array([graph.nodes[f"u{a}"].mean() for a in "xyz"])
    assert abs(main @ towards) > 0.95


def test_a_fork_is_one_branch_point():
    image = line((20, 60, 60), (10, 5, 5), (10, 30, 30))
    image |= line((20, 60, 60), (10, 30, 30), (10, 55, 30))
    image |= line((20, 60, 60), (10, 30, 30), (10, 30, 55))
    graph = whole_graph(image)
    assert graph.nodes["branch"].sum() == 1
    assert graph.nodes["end"].sum() == 3


def test_graph_of_parts_is_that_of_the_whole():
    rng = np.random.default_rng(2)
    shape = (40, 60, 80)
    image = np.zeros(shape, np.uint8)
    for _ in range(10):
        image |= line(shape, rng.uniform(0, shape), rng.uniform(0, shape) * 0.99 - 0.5)
    geometry = Geometry.from_spacing(shape, SPACING, unit="micrometer")
    region = Region.whole(shape)
    whole = block_graph(image, image > 0, region, region, geometry)
    parts = []
    for x in (0, 32, 64):
        core = Region((0, 0, x), (40, 60, min(x + 32, 80)))
        around = core.padded(REACH).clipped(shape)
        part = image[around.slices]
        parts.append(block_graph(part, part > 0, around, core, geometry))
    order = np.argsort(np.concatenate([p.nodes["id"] for p in parts]))
    for name, values in whole.nodes.items():
        joined = np.concatenate([p.nodes[name] for p in parts])[order]
        np.testing.assert_array_equal(joined, values, err_msg=name)
    edges = {(a, b) for p in parts for a, b in zip(p.edges["a"], p.edges["b"], strict=True)}
    assert edges == set(zip(whole.edges["a"], whole.edges["b"], strict=True))


def tubes_of_known_length():
    """Three thick tubes of different directions; their numbers and lengths in µm."""
    shape = (60, 90, 300)
    lines = {
        1: ((30, 20, 8), (30, 20, 290)),
        2: ((8, 60, 20), (52, 60, 20)),
        3: ((10, 40, 100), (50, 80, 280)),
    }
    labels = np.zeros(shape, np.uint32)
    for number, (start, stop) in lines.items():
        thick = ndimage.binary_dilation(
            line(shape, start, stop), ndimage.generate_binary_structure(3, 2)
        )
        labels[thick & (labels == 0)] = number
    lengths = {n: float(np.linalg.norm(np.subtract(b, a) * SPACING)) for n, (a, b) in lines.items()}
    return labels, lengths


@pytest.fixture(scope="module")
def graph(here, tmp_path_factory):
    """The tubes thinned in small cells, so that they cross borders."""
    folder = tmp_path_factory.mktemp("tubes")
    labels, _ = tubes_of_known_length()
    geometry = Geometry.from_spacing(labels.shape, SPACING, (10, 20, 30), unit="micrometer")
    path = write_labels(LabelVolume(labels, geometry), folder / "axons.ome.zarr")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(skeleton_module, "CELL", (32, 64, 64))
        return skeletonize_volume(path, here)


def test_lengths_of_tubes_across_cells(graph):
    _, truth = tubes_of_known_length()
    found = measure_graph(graph.graph)
    assert found.components["component"].tolist() == [1, 2, 3]
    for length, want in zip(found.components["length_um"], truth.values(), strict=True):
        assert length == pytest.approx(want, rel=0.06)
    assert graph.length_um / 1000 == pytest.approx(found.length_mm, abs=1e-6)
    (row,) = found.regions
    assert row.volume_mm3 == pytest.approx(60 * 90 * 300 * 3 * 1.5 * 1.5 * 1e-9)
    assert row.density_mm_per_mm3 == pytest.approx(row.length_mm / row.volume_mm3)
    assert 0 < row.mean_radius_um < 6
    edges = [parquet.read_table(f) for f in sorted(graph.graph.glob("edges-*.parquet"))]
    assert len({n for t in edges for n in t["component"].to_pylist()}) == 3


def test_no_piece_however_small_is_lost_in_thinning():
    rng = np.random.default_rng(0)
    soft = ndimage.gaussian_filter(rng.normal(size=(40, 60, 60)), 1.2)
    labels, count = ndimage.label(soft > 0.17, ndimage.generate_binary_structure(3, 3))
    assert count > 50
    whole = skeleton_of(labels, np.s_[:, :, :])
    assert set(np.unique(whole)) == set(range(count + 1))
    assert ((whole == 0) | (whole == labels)).all()
    halves = [skeleton_of(labels[:, :, :46], np.s_[:, :, :30])]
    halves.append(skeleton_of(labels[:, :, 14:], np.s_[:, :, 16:]))
    np.testing.assert_array_equal(np.concatenate(halves, axis=2), whole)


def test_labels_that_were_made_anew_are_thinned_anew(here, tmp_path, monkeypatch):
    use_blur(monkeypatch)
    run = AxonRun(ImageSource(write_image(tmp_path)), "blur", block=(64, 80, 96))
    labels = segment_volume(run, here).labels
    before = skeletonize_volume(labels, here)
    seen = []
    assert skeletonize_volume(labels, here, on_block=seen.append).nodes == before.nodes
    assert {event.state for event in seen} == {"kept"}
    segment_volume(replace(run, threshold=0.8), here, restart=True)
    after = skeletonize_volume(labels, here)
    assert 0 < after.nodes < before.nodes
    found = measure_graph(after.graph)
    assert found.length_mm * 1000 == pytest.approx(after.length_um)
    assert found.components["nodes"].sum() == after.nodes
    other = AxonRun(ImageSource(tmp_path / "brain.ome.zarr"), "blur", name="other")
    with pytest.raises(InputError, match=r"holds the graph of .*axons; give another folder"):
        skeletonize_volume(segment_volume(other, here).labels, here, out=after.graph)


def test_labels_saved_over_are_thinned_anew(here, tmp_path):
    labels, _ = tubes_of_known_length()
    path, geometry = tmp_path / "axons.ome.zarr", Geometry.from_spacing(labels.shape, SPACING)
    write_labels(LabelVolume(labels, geometry), path)
    before, seen = skeletonize_volume(path, here), []
    assert skeletonize_volume(path, here, on_block=seen.append).nodes == before.nodes
    assert {event.state for event in seen} == {"kept"}
    write_labels(LabelVolume(np.where(labels == 1, labels, 0), geometry), path)
    after = skeletonize_volume(path, here)
    assert 0 < after.nodes < before.nodes


def test_regions_are_looked_up_by_world_coordinates(graph, tmp_path):
    halves = np.ones((6, 9, 30), np.uint8)
    halves[:, :, 15:] = 2
    # millimetres, coarser voxels, the same field of view
    image = Geometry.from_spacing((60, 90, 300), SPACING, (10, 20, 30), unit="micrometer")
    coarse = image.resized((6, 9, 30))
    affine = coarse.affine.copy()
    affine[:3] /= 1000
    geometry = Geometry((6, 9, 30), affine)
    names = {1: Label("left"), 2: Label("right")}
    path = write_labels(LabelVolume(halves, geometry, names), tmp_path / "regions.nii.gz")
    found = measure_graph(graph.graph, Regions.read(path))
    left, right = found.regions
    assert (left.name, right.name) == ("left", "right")
    assert left.volume_mm3 == pytest.approx(right.volume_mm3)
    total = measure_graph(graph.graph).length_mm
    assert left.length_mm + right.length_mm == pytest.approx(total, abs=1e-9)
    assert left.length_mm > 0.3
    assert right.length_mm > 0.3
    table = tmp_path / "names.csv"
    table.write_text("id,name,acronym,parent\n1,left,L,9\n2,right,R,9\n9,brain,B,\n")
    rows = {r.acronym: r for r in measure_graph(graph.graph, Regions.read(path, table)).regions}
    assert rows["B"].length_mm == 0
    assert rows["B"].total_length_mm == pytest.approx(total)
    assert rows["B"].total_volume_mm3 == pytest.approx(2 * left.volume_mm3)


def test_density_map_adds_up_to_the_length(graph):
    found = measure_graph(graph.graph, cell_um=30)
    density = found.density
    assert density.shape == (6, 5, 15)
    mm3 = 30**3 * 1e-9
    assert density.array.astype(float).sum() * mm3 == pytest.approx(found.length_mm, rel=0.12)
    assert np.allclose(density.geometry.spacing, (30, 30, 30))
    inner = density.array[:, :4]
    whole = found.length_mm - density.array[:, 4].astype(float).sum() * mm3 / 2
    assert inner.astype(float).sum() * mm3 == pytest.approx(whole, rel=0.12)


def test_swc_is_a_tree_of_the_right_length(graph, tmp_path):
    _, truth = tubes_of_known_length()
    files = write_swc(graph.graph, tmp_path, [1, 3, 77])
    assert [f.name for f in files] == ["axon_000001.swc", "axon_000003.swc"]
    rows = np.loadtxt(files[0])
    assert rows[:, 0].tolist() == list(range(1, len(rows) + 1))
    assert (rows[:, 1] == 2).all()
    child, parent = rows[:, 0], rows[:, 6]
    assert (parent < child).all()
    has = parent > 0
    steps = rows[has, 2:5] - rows[parent[has].astype(int) - 1, 2:5]
    assert np.linalg.norm(steps, axis=1).sum() == pytest.approx(truth[1], rel=0.06)
    assert abs(rows[:, 3] - (20 + 20 * 1.5)).max() < 4


def test_tables_come_back(graph, tmp_path):
    found = measure_graph(graph.graph)
    written = write_table(region_columns(found.regions), tmp_path / "t.parquet")
    assert parquet.read_table(written)["name"].to_pylist() == ["whole volume"]
    text = write_table(found.components, tmp_path / "t.csv").read_text()
    assert text.splitlines()[0].replace('"', "") == "component,length_um,nodes,branch_points"
    with pytest.raises(InputError, match=r"t\.xls"):
        write_table(found.components, tmp_path / "t.xls")


def test_what_is_no_graph_is_said(tmp_path):
    with pytest.raises(InputError, match="no finished graph"):
        measure_graph(Path(tmp_path))
