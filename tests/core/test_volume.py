import subprocess
import sys

import dask.array as da
import numpy as np
import pytest

from openmedlab.core import Geometry, InputError, LabelVolume, Region, Volume


def test_reading_a_region_of_a_lazy_volume_loads_only_its_chunks():
    loaded = []

    def block(info):
        loaded.append(info[None]["chunk-location"])
        return np.zeros(info[None]["chunk-shape"], np.int16)

    lazy = da.map_blocks(
        lambda block_info=None: block(block_info), chunks=((5,) * 4,) * 3, dtype=np.int16
    )
    volume = Volume(lazy, Geometry.from_spacing((20, 20, 20)))
    loaded.clear()
    assert volume.read(Region((0, 0, 0), (5, 5, 5))).shape == (5, 5, 5)
    assert loaded == [(0, 0, 0)]


def test_reading_numpy_is_a_view():
    image = np.zeros((4, 5, 6))
    crop = Volume(image, Geometry.from_spacing(image.shape)).read(Region((1, 1, 1), (3, 3, 3)))
    assert np.shares_memory(crop, image)


def test_identity_changes_with_grid_and_voxels():
    image = np.random.default_rng(0).normal(size=(20, 20, 20))
    base = Volume(image, Geometry.from_spacing(image.shape))
    moved = Volume(image, Geometry.from_spacing(image.shape, (2, 1, 1)))
    other = Volume(image + 1, base.geometry)
    assert len({base.identity, moved.identity, other.identity}) == 3
    assert base.identity == Volume(image.copy(), base.geometry, name="x").identity


@pytest.mark.parametrize("shape", [(4, 4), (2, 3, 4, 5)])
def test_other_dimensions_are_told(shape):
    with pytest.raises(InputError, match="three"):
        Volume(np.zeros(shape), Geometry.from_spacing((2, 3, 4)))


def test_labels_must_be_whole_numbers_on_their_grid():
    grid = Geometry.from_spacing((2, 3, 4))
    with pytest.raises(InputError, match="whole numbers"):
        LabelVolume(np.zeros((2, 3, 4), np.float32), grid)
    with pytest.raises(InputError, match="geometry says"):
        LabelVolume(np.zeros((2, 3, 5), np.uint8), grid)


def test_core_needs_numpy_and_psygnal_alone():
    code = (
        "import openmedlab.core, sys;"
        "heavy = {'scipy', 'skimage', 'SimpleITK', 'torch', 'dask', 'zarr', 'napari', 'pydicom'};"
        "print(heavy & {m.split('.')[0] for m in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
