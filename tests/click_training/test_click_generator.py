import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

FOLDER = Path(__file__).parents[2] / "training" / "click"


@pytest.fixture(scope="module")
def generator():
    """The script as a module; its name is not its own (training/axons has one, too)."""
    sys.path.append(str(FOLDER))
    found = importlib.util.spec_from_file_location("click_generator", FOLDER / "generator.py")
    module = importlib.util.module_from_spec(found)
    sys.modules["click_generator"] = module
    found.loader.exec_module(module)
    yield module
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def scenes(generator):
    return [generator.scene(np.random.default_rng(seed), 48) for seed in range(6)]


def test_the_same_seed_draws_the_same_scene(generator, scenes):
    image, labels = generator.scene(np.random.default_rng(2), 48)
    assert np.array_equal(image, scenes[2][0])
    assert np.array_equal(labels, scenes[2][1])
    assert not np.array_equal(image, scenes[3][0])


def test_a_scene_has_a_finite_image_and_objects_numbered_without_gaps(generator, scenes):
    for image, labels in scenes:
        assert image.shape == labels.shape == (48, 48, 48)
        assert (image.dtype, labels.dtype) == (np.float32, np.uint8)
        assert np.isfinite(image.astype(np.float16)).all()
        sizes = np.bincount(labels.ravel())
        assert generator.FEWEST <= len(sizes) - 1 <= generator.MOST
        assert (sizes[1:] >= generator.SMALLEST).all()


def contrasts(image, labels):
    """Each object's grey values against those around it, in noise (that of differences)."""
    rough = image - ndimage.gaussian_filter(image, 1)
    for label in range(1, labels.max() + 1):
        inside = labels == label
        around = ndimage.binary_dilation(inside, iterations=3) & ~inside
        apart = np.abs(image[around] - np.median(image[inside])).mean()
        yield apart / np.median(np.abs(rough[inside]))


def test_most_objects_stand_out_from_their_surroundings(scenes):
    found = np.array([c for image, labels in scenes for c in contrasts(image, labels)])
    assert (found >= 0.5).mean() >= 0.85
    assert (found >= 2).mean() >= 0.5


def test_every_shape_draws_objects(generator):
    for name, kind in generator.SHAPES.items():
        space = generator.Space(np.random.default_rng(5), 48)
        parts = [part for _ in range(4) for part in kind.draw(space)]
        assert max(part.mask.sum() for part in parts) > generator.SMALLEST, name
        for part in parts:
            assert part.mask.shape == tuple(s.stop - s.start for s in part.box), name


def test_an_object_painted_over_another_takes_its_voxels(generator):
    random, canvas = np.random.default_rng(1), generator.Canvas.blank(24)
    first = generator.Part((slice(2, 14),) * 3, np.ones((12, 12, 12), bool))
    second = generator.Part((slice(10, 20),) * 3, np.ones((10, 10, 10), bool))
    generator.paint(random, canvas, [first, second], alike=1)
    assert (canvas.labels == 2).sum() == 1000
    assert (canvas.labels == 1).sum() == 12**3 - 4**3


def test_crumbs_of_an_object_are_dropped_and_its_large_pieces_kept(generator):
    mask = np.zeros((20, 20, 20), bool)
    mask[:8, :8, :8] = mask[12:, 12:, 12:] = True
    crumbs = mask.copy()
    crumbs[10, 10, 0:3] = True
    assert np.array_equal(generator.without_scraps(crumbs), mask)


def test_thick_slices_keep_what_is_constant(generator):
    for smooth in (True, False):
        assert np.allclose(generator.spread(20, 3.3, smooth).sum(1), 1, atol=1e-5)


def test_the_script_goes_on_where_it_stopped(generator, tmp_path):
    generator.main(["--out", str(tmp_path), "--count", "1", "--side", "32"])
    first = (tmp_path / "synthetic0000.npz").read_bytes()
    (tmp_path / "synthetic0000.npz").write_bytes(b"mine")
    generator.main(["--out", str(tmp_path), "--count", "2", "--side", "32"])
    assert (tmp_path / "synthetic0000.npz").read_bytes() == b"mine"
    assert {f.name for f in tmp_path.iterdir()} == {"synthetic0000.npz", "synthetic0001.npz"}
    with np.load(tmp_path / "synthetic0001.npz") as saved:
        image, labels = generator.scene(np.random.default_rng((9, 1)), 32)
        assert np.array_equal(saved["image"], image.astype(np.float16))
        assert np.array_equal(saved["labels"], labels)
        assert saved["spacing"].tolist() == [1, 1, 1]
    (tmp_path / "synthetic0000.npz").unlink()
    generator.main(["--out", str(tmp_path), "--count", "1", "--side", "32"])
    with np.load(tmp_path / "synthetic0000.npz") as saved:
        assert saved["image"].shape == (32, 32, 32)
    assert len(first) > 1000
