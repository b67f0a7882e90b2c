from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch

from openmedlab.axons.methods import METHODS
from openmedlab.axons.small_net import AxonSmall, load
from openmedlab.axons.statistics import measure
from openmedlab.axons.trainer import Cube, Settings, Trainer, score
from openmedlab.axons.training import UserCube, read_cubes, train
from openmedlab.core.errors import Cancelled, InputError
from openmedlab.core.progress import CancelToken, Progress
from openmedlab.tuning.loop import best_weights

SETTINGS = Settings(steps=4, side=8, batch=2, check=2, seed=1)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def lines(seed, shape=(20, 24, 64)):
    """A noisy volume with bright lines along x, and where they are."""
    random = np.random.default_rng(seed)
    image, label = random.normal(500, 20, shape), np.zeros(shape, bool)
    for _ in range(3):
        z, y = random.integers(3, shape[0] - 5), random.integers(3, shape[1] - 5)
        image[z : z + 3, y : y + 3] += 1500
        label[z : z + 3, y : y + 3] = True
    return image.astype(np.uint16), label


def prepared(seed):
    image, label = lines(seed)
    return Cube(np.log2(image / 500.0).astype(np.float32), label.astype(np.uint8))


def trainer(folder, settings=SETTINGS):
    torch.manual_seed(0)
    return Trainer(AxonSmall(), [prepared(1)], [prepared(2)], settings, folder)


def stop_after(steps):
    cancel = CancelToken()

    def report(done, total, text):
        if done >= steps:
            cancel.cancel()

    return Progress(report), cancel


def test_a_cancelled_training_goes_on_as_if_nothing_had_been(tmp_path):
    whole = trainer(tmp_path / "whole")
    whole.run(Progress(), CancelToken())
    with pytest.raises(Cancelled):
        trainer(tmp_path / "parts").run(*stop_after(1))
    resumed = trainer(tmp_path / "parts")
    assert resumed.history.step == 1
    resumed.run(Progress(), CancelToken())
    assert resumed.history == whole.history
    for name, tensor in whole.averaged.items():
        torch.testing.assert_close(resumed.averaged[name], tensor, rtol=1e-4, atol=1e-5)


def test_training_learns_and_keeps_the_best(tmp_path):
    run = trainer(tmp_path, replace(SETTINGS, steps=30, check=10, average=0.8, rate=0.02))
    run.run(Progress(), CancelToken())
    start = trainer(tmp_path / "new")
    start._judge()
    assert run.history.best < 0.8 * start.history.best
    assert best_weights(tmp_path).keys() == run.best.keys()


def test_a_checkpoint_of_other_settings_is_not_overwritten(tmp_path):
    trainer(tmp_path).save()
    with pytest.raises(InputError, match="other settings"):
        trainer(tmp_path, replace(SETTINGS, steps=7))


def test_a_checkpoint_of_other_cubes_or_another_grey_scale_is_not_taken_up(tmp_path):
    trainer(tmp_path).save()
    trainer(tmp_path)
    scaled = replace(prepared(1), image=prepared(1).image + 0.5)
    for cube in (prepared(3), scaled):
        with pytest.raises(InputError, match="other settings"):
            Trainer(AxonSmall(), [cube], [prepared(2)], SETTINGS, tmp_path)


def test_what_is_not_known_does_not_count():
    logits = torch.zeros(1, 1, 8, 8, 8)
    label = torch.zeros(1, 1, 8, 8, 8, dtype=torch.uint8)
    label[..., :4] = 2
    other = logits.clone()
    other[..., :4] = 50
    assert score(logits, label) == score(other, label)


def user_cubes():
    artefact = np.random.default_rng(9).integers(300, 900, (20, 24, 64)).astype(np.uint16)
    return [
        UserCube("a", *lines(3)),
        UserCube("spots", artefact, np.zeros(artefact.shape, bool)),
    ]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """A weights file to start from, so that these tests do not depend on the bundled one."""
    from openmedlab.zoo.checkpoint import write_safetensors

    torch.manual_seed(4)
    path = tmp_path_factory.mktemp("start") / "start.safetensors"
    write_safetensors(AxonSmall().state_dict(), path, {})
    return path


def test_fine_tuned_weights_segment_a_volume(tmp_path, bundle):
    told = []
    weights = train(
        user_cubes(),
        tmp_path / "out",
        start=bundle,
        epochs=1,
        progress=Progress(lambda *report: told.append(report)),
    )
    assert weights.parent == tmp_path / "out"
    assert told[-1][0] == told[-1][1] > 0
    load(weights)
    image, _ = lines(5)
    segmenter = METHODS["axon-small"].make(measure(image), weights)
    padded = np.pad(image, [(h, h) for h in segmenter.halo], mode="edge")
    assert segmenter.segment_block(padded, segmenter.halo).shape == image.shape


def test_a_cancelled_fine_tuning_goes_on(tmp_path, bundle):
    progress, cancel = stop_after(1)
    with pytest.raises(Cancelled):
        train(user_cubes(), tmp_path, start=bundle, epochs=1, progress=progress, cancel=cancel)
    assert (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "weights.safetensors").exists()
    steps = []
    progress = Progress(lambda done, total, text: steps.append(done))
    assert train(user_cubes(), tmp_path, start=bundle, epochs=1, progress=progress).exists()
    assert steps[0] == 2


def test_training_without_axons_or_epochs_is_refused(tmp_path):
    artefacts = user_cubes()[1:]
    with pytest.raises(InputError, match="No training cube has axons"):
        train(artefacts, tmp_path)
    with pytest.raises(InputError, match="0 epochs"):
        train(user_cubes(), tmp_path, epochs=0)


def test_cubes_of_a_folder_with_the_three_kinds_of_labels(tmp_path):
    image, label = lines(6)
    for name in ("hand_image", "rough_image", "none_image", "glass_artefact"):
        tifffile.imwrite(tmp_path / f"{name}.tif", image)
    tifffile.imwrite(tmp_path / "hand_label.tif", label.astype(np.uint8) * 255)
    tifffile.imwrite(tmp_path / "rough_rough.tif", label.astype(np.uint8))
    cubes = {cube.name: cube for cube in read_cubes(tmp_path)}
    assert set(cubes) == {"hand_image", "rough_image", "none_image", "glass_artefact"}
    assert np.array_equal(cubes["hand_image"].label, label)
    assert cubes["glass_artefact"].is_artefact
    for name in ("rough_image", "none_image"):
        made = cubes[name].label
        assert made.any()
        assert (made & label).sum() > 0.4 * made.sum()


def test_cubes_that_cannot_be_used_are_named(tmp_path):
    with pytest.raises(InputError, match="no training cubes"):
        read_cubes(tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        read_cubes(tmp_path / "absent")
    image, label = lines(7)
    with pytest.raises(InputError, match="differ in shape"):
        UserCube("left", image, label[1:])
    with pytest.raises(InputError, match="at least 16"):
        UserCube("thin", image[:4], label[:4])
