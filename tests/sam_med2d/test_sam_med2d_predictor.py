import numpy as np
import torch

from openmedlab.core import Box, CancelToken, Geometry, MaskPrompt, Point, Progress, Volume
from openmedlab.nn.fill import fill_by_name
from openmedlab.sam_med2d.encoder import ImageEncoder
from openmedlab.sam_med2d.network import SamMed2DNetwork
from openmedlab.sam_med2d.predictor import SamMed2D
from openmedlab.sam_med2d.transform import to_frame, to_image, to_input


def make():
    network = SamMed2DNetwork(ImageEncoder(depth=1))
    fill_by_name(network)
    return SamMed2D(network, "cpu", "test", propagate=False)


def volume():
    array = np.random.default_rng(0).integers(0, 900, (5, 70, 90)).astype(np.int16)
    return Volume(array, Geometry.from_spacing(array.shape, (4.0, 1.0, 1.0)))


def predict(model, prompts):
    encoding = model.encode(volume(), volume().geometry.region, Progress(), CancelToken())
    patch = model.predict(encoding, prompts, None, Progress(), CancelToken())
    whole = np.zeros(volume().shape, bool)
    whole[patch.region.slices] = patch.mask
    return whole, encoding, patch


@torch.inference_mode()
def test_two_clicks_and_a_box_go_through_the_published_predictor():
    model = make()
    box = Box((2, 10, 20), (2, 50, 60))
    got, encoding, patch = predict(model, [box, Point((2, 30, 40)), Point((2, 5, 7), False)])
    assert patch.given[:2] == ("box", "point")

    network, shape = model._run.network, (70, 90)
    embedding = network.image_encoder(to_input(encoding.data.picture(0, 2)))
    corners = to_frame(np.array([[[20, 10], [60, 50]]]), shape).flatten(1)
    points = to_frame(np.array([[40, 30], [7, 5]]), shape)[None]
    low, _ = network.decode(embedding, boxes=corners)
    low, _ = network.decode(embedding, points[:, :1], torch.tensor([[1]]), corners, low.sigmoid())
    low, _ = network.decode(embedding, points, torch.tensor([[1, 0]]), corners, low.sigmoid())
    want = (to_image(low, shape)[0, 0] > 0).numpy()
    want[30, 40], want[5, 7] = True, False
    np.testing.assert_array_equal(got[2], want)
    assert not np.delete(got, 2, axis=0).any()


def test_mask_prompt_and_warm_up_run():
    model = make()
    model.warm_up()
    mask = np.zeros((5, 70, 90), bool)
    mask[2:4, 20:40, 30:60] = True
    got, _, _ = predict(model, [MaskPrompt.from_array(mask)])
    assert set(np.flatnonzero(got.any((1, 2)))) <= {2, 3}
    low = model._low_of_mask(mask[2])
    assert low.shape == (1, 1, 64, 64)
    assert low.max() == 8
