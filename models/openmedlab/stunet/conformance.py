"""STU-Net behind the targets of the reference cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from openmedlab.core import CancelToken, Progress, Region
from openmedlab.nn.conformance import Array, Arrays, Target, tensor
from openmedlab.nn.fill import fill_by_name
from openmedlab.stunet.export import NativeLabels
from openmedlab.stunet.network import Size, StuNetwork, build_network, five_strides
from openmedlab.stunet.plan import Intensities, Plan, released_plan
from openmedlab.stunet.predict import Predictor
from openmedlab.stunet.preprocess import inside_mask, normalise, resample
from openmedlab.stunet.resample import apply, operators, separate_axis
from openmedlab.stunet.window import Block, Tiling, importance_map, stream

CPU = torch.device("cpu")


def targets(build: dict[str, Any]) -> dict[str, Target]:
    """Return every target of the cases, weights filled by name.

    Parameters
    ----------
    build
        ``size``; where the network is not the released one also ``input_channels``,
        ``num_classes``, ``depth``, ``dims`` and ``pool_op_kernel_sizes``.
    """
    made = _Targets(_network(build))
    names = [n for n in dir(made) if not n.startswith("_")]
    return {n: torch.inference_mode()(getattr(made, n)) for n in names}


def _network(build: Mapping[str, Any]) -> StuNetwork:
    if "dims" in build:
        network = StuNetwork(
            Size(build["depth"][0], tuple(build["dims"])),
            build["input_channels"],
            build["num_classes"],
            five_strides(build["pool_op_kernel_sizes"]),
        )
    else:
        network = build_network(build["size"])
    fill_by_name(network)
    return network.eval()


class _Targets:
    """One public method per target, arrays in and out."""

    def __init__(self, network: StuNetwork) -> None:
        self._network = network

    def forward(self, x: Array) -> Arrays:
        heads = self._network.deep_supervision(tensor(x))
        return {f"head{k}": y.numpy() for k, y in enumerate(heads)}

    def stages(self, x: Array) -> Arrays:
        found: Arrays = {}
        rooms = {
            "context": self._network.conv_blocks_context,
            "up": self._network.upsample_layers,
            "localization": self._network.conv_blocks_localization,
        }
        hooks = [
            stage.register_forward_hook(
                lambda module, given, y, name=f"{word}{k}": found.update({name: y.numpy().copy()})
            )
            for word, stages in rooms.items()
            for k, stage in enumerate(stages)
        ]
        self._network(tensor(x))
        for hook in hooks:
            hook.remove()
        return found

    def probabilities(self, x: Array) -> Arrays:
        softmax = self._network(tensor(x)).softmax(1)
        return {"softmax": softmax.numpy(), "argmax": softmax.argmax(1).numpy()}

    def gaussian(self, patch_size: list[int]) -> Arrays:
        return {"gaussian": importance_map(patch_size)}

    def preprocess(self, volume: Array, **params: Any) -> Arrays:
        plan = _plan(params)
        prepared = resample(volume, _spacing(params), plan, CPU)
        resampled = prepared.image.numpy()[None].copy()
        inside = inside_mask(volume, prepared) if plan.masked else None
        normalised = normalise(prepared.image, plan, inside)
        return {"resampled": resampled, "preprocessed": normalised.numpy()[None]}

    def preprocess_mask(self, volume: Array, **params: Any) -> Arrays:
        prepared = resample(volume, _spacing(params), _plan(params), CPU)
        inside = inside_mask(volume, prepared).numpy()
        return {"resampled_mask": inside.astype(np.int64)[None] - 1}

    def sliding_window(
        self, x: Array, patch_size: list[int], step_size: float, mirror: bool
    ) -> Arrays:
        softmax = _softmax(self._blocks(x[0], patch_size, step_size, mirror), x.shape[1:])
        return {"softmax": softmax, "segmentation": softmax.argmax(0)}

    def predict(
        self,
        volume: Array,
        patch_size: list[int],
        step_size: float,
        mirror: bool,
        **params: Any,
    ) -> Arrays:
        plan = _plan(params)
        prepared = resample(volume, _spacing(params), plan, CPU)
        image = normalise(prepared.image, plan).numpy()
        blocks = self._blocks(image, patch_size, step_size, mirror)
        softmax = _softmax(blocks, image.shape)
        labels = np.zeros(volume.shape, np.uint8)
        native = _native(prepared.frame(labels), image.shape, prepared.separate, len(softmax))
        for block in blocks:
            native.put(block)
        fast = np.zeros_like(labels)
        prepared.frame(fast)[:] = _resized_labels(
            softmax.argmax(0), prepared.frame(fast).shape, prepared.separate
        )
        return {
            "preprocessed": image[None],
            "softmax": softmax,
            "segmentation_resampled": softmax.argmax(0),
            "segmentation": labels,
            "segmentation_fast": fast,
        }

    def export(
        self,
        z: Array,
        size_after_cropping: list[int],
        original_size_of_raw_data: list[int],
        crop_bbox: list[list[int]],
        original_spacing_zyx: list[float],
        spacing_after_resampling_zyx: list[float],
    ) -> Arrays:
        softmax = tensor(z).softmax(0)
        separate = separate_axis(original_spacing_zyx, spacing_after_resampling_zyx)
        cut = tuple(slice(*bounds) for bounds in crop_bbox)
        labels = np.zeros(original_size_of_raw_data, np.uint8)
        native = _native(labels[cut], softmax.shape[1:], separate, len(softmax))
        for block in _layers(softmax):
            native.put(block)
        fast = np.zeros_like(labels)
        fast[cut] = _resized_labels(softmax.argmax(0).numpy(), fast[cut].shape, separate)
        matrices = operators(softmax.shape[1:], size_after_cropping, 1, separate)
        resized = []
        for samples in softmax:
            for axis, matrix in enumerate(matrices):
                samples = apply(matrix, samples, axis)
            resized.append(samples.numpy())
        return {
            "softmax_resampled": np.stack(resized),
            "segmentation": labels,
            "segmentation_fast": fast,
        }

    def _blocks(self, image: Array, patch: list[int], step: float, mirror: bool) -> list[Block]:
        z, y, x = patch
        tiling = Tiling.of(image.shape, (z, y, x), step)
        predictor = Predictor(self._network, CPU, mirror)
        blocks: list[Block] = []
        stream(tensor(image), tiling, predictor, blocks.append, Progress(), CancelToken())
        return blocks


def _native(out: Array, shape: Any, separate: int | None, classes: int) -> NativeLabels:
    keep = np.arange(classes, dtype=np.uint8)
    return NativeLabels(out, tuple(shape), separate, Region.whole(shape), keep)


def _layers(softmax: torch.Tensor) -> list[Block]:
    """Return probabilities as blocks cut along z, as a sliding window delivers them."""
    _, depth, height, width = softmax.shape
    cuts = [*range(0, depth, 7), depth]
    return [
        Block(Region((a, 0, 0), (b, height, width)), [[softmax[:, a:b]]]) for a, b in pairwise(cuts)
    ]


def _softmax(blocks: list[Block], shape: tuple[int, ...]) -> Array:
    out = np.zeros((blocks[0].classes, *shape), np.float32)
    for block in blocks:
        for number in range(block.classes):
            block.copy_class(number, torch.from_numpy(out[number][block.region.slices]))
    return out


def _resized_labels(labels: Array, shape: tuple[int, ...], separate: int | None) -> Array:
    """Resize a label map label by label, as nnU-Net's export mode "fast" does."""
    out = np.zeros(shape, np.uint8)
    matrices = operators(labels.shape, shape, 1, separate)
    for label in np.unique(labels):
        share = torch.from_numpy((labels == label).astype(np.float64))
        for axis, matrix in enumerate(matrices):
            share = apply(matrix, share, axis)
        out[share.numpy() >= 0.5] = label
    return out


def _plan(params: Mapping[str, Any]) -> Plan:
    known = params["intensityproperties"]
    return replace(
        released_plan(),
        spacing=tuple(params["target_spacing_zyx"]),
        scheme=params["scheme"],
        masked=params["use_mask_for_norm"],
        transpose=tuple(params["transpose_forward"]),
        intensities=known
        and Intensities(
            known["mean"], known["sd"], known["percentile_00_5"], known["percentile_99_5"]
        ),
    )


def _spacing(params: Mapping[str, Any]) -> Any:
    return tuple(params["itk_spacing_xyz"][::-1])
