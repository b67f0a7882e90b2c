import numpy as np
import pytest
import torch
from torch import nn

from openmedlab.core import Box, CancelToken, Geometry, MaskPrompt, Point, Progress, Volume
from openmedlab.nn.fill import fill_by_name
from openmedlab.nn.mask_decoder import MaskDecoder
from openmedlab.nn.prompt_encoder import PromptEncoder
from openmedlab.sam.predictor import MedSam, Sam, decode
from openmedlab.sam.transform import to_frame, to_image, to_input


class TinySam(nn.Module):
    """SAM's prompt encoder and decoder with an encoder that only shrinks the picture."""

    class Prompts(PromptEncoder):
        def forward(self, points, boxes, masks):
            clicks, labels = points or (None, None)
            return super().forward(clicks, labels, boxes, masks)

        def get_dense_pe(self):
            return self.dense_encoding()

    def __init__(self):
        super().__init__()
        self.prompt_encoder = self.Prompts(2, 256, grid=64, size=1024, kinds=4)
        self.mask_decoder = MaskDecoder(2, 256)
        fill_by_name(self)

    def image_encoder(self, x):
        small = torch.nn.functional.avg_pool2d(x, 16)
        return small.repeat(1, 86, 1, 1)[:, :256]


@pytest.fixture(scope="module")
def network():
    return TinySam()


def volume():
    array = np.random.default_rng(0).integers(0, 900, (5, 70, 90)).astype(np.int16)
    return Volume(array, Geometry.from_spacing(array.shape, (4.0, 1.0, 1.0)))


def predict(model, prompts):
    encoding = model.encode(volume(), volume().geometry.region, Progress(), CancelToken())
    patch = model.predict(encoding, prompts, None, Progress(), CancelToken())
    whole = np.zeros(volume().shape, bool)
    whole[patch.region.slices] = patch.mask
    return whole, encoding


@torch.inference_mode()
def test_single_point_takes_the_best_of_three_and_feeds_raw_logits_back(network):
    model = Sam(network, "cpu", "test", propagate=False)
    got, encoding = predict(model, [Point((2, 30, 40)), Point((2, 5, 7), False)])
    embedding = network.image_encoder(to_input(encoding.data.picture(0, 2)))
    points = to_frame(np.array([[40, 30], [7, 5]]), (70, 90))[None]
    three, scores = decode(network, embedding, points[:, :1], torch.tensor([[1]]))
    best = three[:, int(scores.argmax())][:, None]
    low, _ = decode(network, embedding, points, torch.tensor([[1, 0]]), None, best, False)
    want = (to_image(low, (70, 90))[0, 0] > 0).numpy()
    want[30, 40], want[5, 7] = True, False
    np.testing.assert_array_equal(got[2], want)


def test_box_and_mask_prompts_run(network):
    mask = np.zeros((5, 70, 90), bool)
    mask[2, 20:40, 30:60] = True
    for model in (Sam(network, "cpu", "test"), MedSam(network, "cpu", "test")):
        for prompt in (Box((2, 10, 20), (2, 50, 60)), MaskPrompt.from_array(mask)):
            predict(model, [prompt])
        low = model._low_of_mask(mask[2])
        assert low.shape == (1, 1, 256, 256)
        assert low.max() == 8


def test_medsam_stretches_the_slice_and_scales_it_to_one(network):
    model = MedSam(network, "cpu", "test")
    x = model._input(np.random.default_rng(0).integers(30, 99, (50, 80, 3)).astype(np.uint8))
    assert x.shape == (1, 3, 1024, 1024)
    assert (float(x.min()), float(x.max())) == (0, 1)
    frame = model._frame(np.array([[40.0, 25.0]]), (50, 80))
    np.testing.assert_allclose(frame, [[512, 512]])
