"""MedLAM behind the targets of the reference cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from openmedlab.core import CancelToken, Geometry, Volume
from openmedlab.medlam import extremes, matching, procedure
from openmedlab.medlam.network import MedLamNetwork, Unit, build_network
from openmedlab.medlam.prepare import PAD, SPACING, Frame, Prepared, intensities, prepare, resample
from openmedlab.nn.conformance import Array, Arrays, Target, tensor
from openmedlab.nn.fill import fill_by_name


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name; ``build`` is empty."""
    made = _Targets()
    names = [n for n in dir(made) if not n.startswith("_")]
    return {n: torch.inference_mode()(getattr(made, n)) for n in names}


@cache
def filled(fc3_scale: float = 1.0) -> MedLamNetwork:
    """Return the network with weights filled by name, its last layer scaled."""
    network = build_network().eval().requires_grad_(False)
    fill_by_name(network)
    network.fc3.weight.mul_(fc3_scale)
    network.fc3.bias.mul_(fc3_scale)
    return network


def volume_of(array_xyz: Array, affine: Any, name: str = "volume") -> Volume:
    """Return a volume from an array and a matrix as NIfTI has them."""
    array = np.ascontiguousarray(array_xyz.T)
    return Volume(array, Geometry.from_ijk_to_ras(array.shape, affine), "CT", name)


def label_on_grid(label: Volume, frame: Frame) -> Array:
    """Return labels on the 3 mm grid as published: each label linearly, then the largest.

    Its size is rounded down where the image's is rounded to the nearest.
    """
    turned = torch.from_numpy(np.ascontiguousarray(frame.turned.apply(label.read())).astype(int))
    onehot = functional.one_hot(turned).permute(3, 0, 1, 2)[None].float()
    shares = functional.interpolate(
        onehot, scale_factor=frame.zoom.tolist(), mode="trilinear", align_corners=False
    )
    return shares[0].argmax(0).numpy().astype(np.uint8)


@dataclass
class Run:
    """One localisation of the cases, every step kept under its name."""

    points: dict[int, Array]
    steps: Arrays
    query: Volume


@cache
def _remembered() -> dict[bytes, Run]:
    return {}


def localized(params: Mapping[str, Any], volumes: Mapping[str, Array]) -> Run:
    """Localise as the cases ask; the last run is remembered, as cases share one."""
    given = (volumes["query_image"].tobytes(), params["fg_class"], params["bbox_mode"])
    key = repr(given).encode()
    if key not in _remembered():
        _remembered().clear()
        _remembered()[key] = _localize(params, volumes)
    return _remembered()[key]


def _localize(params: Mapping[str, Any], volumes: Mapping[str, Array]) -> Run:
    affines = params["affines"]
    steps = procedure.Steps(filled(params["fc3_scale"]))
    query_volume = volume_of(volumes["query_image"], affines["query"])
    query = procedure.begin(prepare(query_volume), steps)
    kept: Arrays = {
        "random_positions_mm": (query.starts * SPACING).astype(np.int64),
        "query_fc": query.codes,
        "query_fc_mean": query.codes.mean(0),
    }
    supports = []
    for name in sorted(n for n in affines if n != "query"):
        prepared = prepare(volume_of(volumes[f"{name}_image"], affines[name]))
        label = volume_of(volumes[f"{name}_label"], affines[name])
        supports.append((prepared, label_on_grid(label, prepared.frame)))
    run = Run({}, kept, query_volume)
    for organ in params["fg_class"]:
        masks = [(prepared, label == organ) for prepared, label in supports]
        run.points[organ], found = _organ(query, masks, params["slice_interval"], steps)
        kept |= {f"c{organ}_{name}": value for name, value in found.items()}
    return run


def _organ(
    query: procedure.Query,
    masks: list[tuple[Prepared, Array]],
    interval: int | None,
    steps: procedure.Steps,
) -> tuple[Array, Arrays]:
    extents = [int(np.ptp(np.flatnonzero(mask.any((1, 2))))) for _, mask in masks]
    count = 1 if interval is None else extremes.count_parts(extents, interval)
    kept, found = [], dict[str, Array]()
    for k, (prepared, mask) in enumerate(masks):
        points = extremes.extreme_points(mask) if count == 1 else _published_parts(mask, count)
        support = steps.support(prepared.patches(points), CancelToken())
        found |= {f"support_points_{k}": points + PAD, f"support_fc_{k}": support.codes}
        kept.append(support)
    fused = procedure.Fused.of(kept)
    found["support_fc_mean"] = fused.codes
    for k, template in enumerate(fused.templates):
        found[f"template_feature{k}"] = template.numpy()
    way = procedure.displacement(fused.codes, query.codes.mean(0))
    position = procedure.coarse_position(query, fused.codes)
    voxels = procedure.nearest_voxels(position)
    inside = procedure.clamped(voxels, query.prepared)
    found |= {
        "relative_position_mm": way,
        "position_mm": position,
        "voxel": voxels,
        "voxel_clamped": inside,
    }
    found |= _similarities(query, fused, inside, steps)
    refined = inside + found["relative_cor"] - PAD
    found["points_3mm"] = refined.reshape(count, 6, 3)
    return procedure.to_stored(found["points_3mm"], query.prepared), found


def _similarities(
    query: procedure.Query, fused: procedure.Fused, voxels: Array, steps: procedure.Steps
) -> Arrays:
    maps = []
    for k, voxel in enumerate(voxels):
        features = steps.features(query.prepared.patches(voxel - PAD)[0])
        maps.append(matching.similarity_maps([t[k] for t in fused.templates], features))
    matches = [matching.peak(m) for m in maps]
    return {
        **{f"similarity_feature{s}": np.stack([m[s].numpy() for m in maps]) for s in range(3)},
        "similarity": np.stack([matching.summed(m).numpy() for m in maps]),
        "max_similarity": np.array([m.value for m in matches]),
        "relative_cor": np.array([m.offset for m in matches]),
    }


def _published_parts(mask: Array, count: int) -> Array:
    """Return the points (6 count, 3) of parts with the published slip.

    The bounds of an empty part and of the one before it are one array there.
    """
    bounds, empty = extremes.part_bounds(mask, count)
    for k in reversed(np.flatnonzero(empty)):
        bounds[k - 1] = bounds[k]
    return np.concatenate([extremes.points_on(mask, b) for b in bounds])


def _published_permutation(points: Array, frame: Frame) -> Array:
    """Take 3 mm voxels (parts, 6, 3) to the stored axes in the direction that is wrong."""
    turned = np.rint(points / frame.zoom)
    index = np.empty_like(turned)
    for axis, (old, flip) in enumerate(zip(frame.turned.order, frame.turned.flips, strict=True)):
        last = frame.geometry.shape[axis] - 1
        index[..., axis] = last - turned[..., old] if flip else turned[..., old]
    return procedure.in_order(index)


class _Targets:
    """One public method per target, arrays in and out."""

    def forward(self, x: Array) -> Arrays:
        network = filled()
        encoded = network.encode(tensor(x))
        features = network.features(encoded)
        found = {f"feature{k}": f.numpy() for k, f in enumerate(features)}
        for k, f in enumerate(matching.normalised(features)):
            found[f"feature{k}_normalized"] = f.numpy()
        found["prob"] = network(tensor(x)).numpy()
        if x.shape[2:] == (64, 64, 64):
            found["fc_position"] = network.code(encoded).numpy()
        return found

    def stages(self, x: Array) -> Arrays:
        network, found = filled(), dict[str, Array]()
        hooks = [
            unit.register_forward_hook(
                lambda module, given, y, name=name: found.update({name: y.numpy().copy()})
            )
            for name, unit in network.named_children()
            if isinstance(unit, Unit)
        ]
        network.features(network.encode(tensor(x)))
        for hook in hooks:
            hook.remove()
        return found

    def intensity_map(self, hu: Array) -> Arrays:
        return {"mapped": intensities(hu)}

    def prepare_ct(self, volume_xyz: Array, label_xyz: Array, affine: Any) -> Arrays:
        volume = volume_of(volume_xyz, affine)
        prepared = prepare(volume)
        frame = prepared.frame
        inside = slice(PAD, -PAD)
        return {
            "image": prepared.image[inside, inside, inside],
            "label": label_on_grid(volume_of(label_xyz, affine), frame),
            "resampled_hu": resample(frame.turned.apply(volume.read()), frame.shape, CancelToken()),
        }

    def extreme_points(self, mask: Array) -> Arrays:
        solid = mask.astype(bool)
        split = {f"split{n}": _published_parts(solid, n) for n in (1, 2, 3, 6)}
        return {"extreme": extremes.extreme_points(solid), **split}

    def geometry_permuted_quirk(self, **params: Any) -> Arrays:
        """Map points back; where axes are permuted, with the published slip."""
        geometry = Geometry.from_ijk_to_ras(params["shape_xyz"][::-1], params["affine"])
        frame = Frame.of(geometry)
        prepared = Prepared(frame, np.zeros(np.add(frame.shape, 2 * PAD), np.float32))
        start = np.mean(params["random_positions_mm_zyx_padded"], axis=0)
        position = start + np.array(params["relative_position_mm"])
        points = (procedure.nearest_voxels(position) - PAD).reshape(-1, 6, 3)
        if frame.turned.order == (0, 1, 2):
            stored = procedure.to_stored(points, prepared)
        else:
            stored = _published_permutation(points, frame)
        return {"points": stored, "corners": procedure.box_corners(stored)}

    def localize(self, **given: Any) -> Arrays:
        volumes = {k: v for k, v in given.items() if k.endswith(("_image", "_label"))}
        found = localized(given, volumes).points
        points = {f"c{k}_extreme_points": p for k, p in found.items()}
        return points | {f"c{k}_corners": procedure.box_corners(p) for k, p in found.items()}

    def localize_steps(self, **given: Any) -> Arrays:
        volumes = {k: v for k, v in given.items() if k.endswith(("_image", "_label"))}
        return localized(given, volumes).steps
