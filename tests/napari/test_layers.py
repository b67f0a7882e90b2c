"""Layers of every kind and pose; layers renamed, moved and deleted under the widget."""

import dask.array as da
import numpy as np
import pytest
from napari_desk import LEFT, SHAPE, Desk
from qtpy.QtTest import QTest

from napari_openmedlab.layers.geometry import geometry_of, volume_of
from openmedlab.core import Geometry

SPOT, OTHER = (12, 30, 36), (12, 30, 50)
POSES = {
    "anisotropic": {"scale": (3, 1, 0.8), "translate": (-40, 10, 5)},
    "turned in plane": {"rotate": (0, 0, 25), "scale": (2, 1, 1)},
    "sheared in plane": {"shear": (0, 0, 0.3)},
    "affine": {"affine": [[2, 0, 0, 5], [0, 0, 1.5, -8], [0, 1, 0, 3], [0, 0, 0, 1]]},
    "tilted": {"rotate": (0, 20, 0), "scale": (2, 1, 1)},
    "sheared across": {"shear": (0.2, 0, 0)},
}


@pytest.fixture
def empty_desk(models, make_napari_viewer, qtbot):
    return Desk(make_napari_viewer(show=True), qtbot)


def show(desk, data, **kwargs):
    layer = desk.viewer.add_image(data, **kwargs)
    desk.qtbot.waitUntil(
        lambda: desk.controller.workspace is not None and desk.image is layer, timeout=5000
    )
    return layer


def choose(desk, layer):
    desk.widget.volume_combo.chosen.emit(layer)


@pytest.mark.parametrize("pose", POSES.values(), ids=POSES.keys())
def test_clicks_land_on_the_voxel_shown_there(empty_desk, volume_data, pose):
    desk = empty_desk
    image = show(desk, volume_data, name="ct", **pose)
    desk.take("point+")
    desk.viewer.reset_view()
    desk.go_to(SPOT)
    QTest.qWait(60)
    shown = desk.viewer.dims.displayed
    matrix = image._transforms.simplified.set_slice(list(shown))
    at = matrix(np.array(SPOT, float)[list(shown)])
    x, y = desk.canvas.view.scene.transform.map([at[1], at[0], 0])[:2]
    where = desk.pixel(SPOT)
    where.setX(round(float(x)))
    where.setY(round(float(y)))
    index = image._slice_input.data_slice(image._transforms.simplified.inverse).point[0]
    QTest.mouseMove(desk.canvas.native, where)
    QTest.mouseClick(desk.canvas.native, LEFT, pos=where)
    desk.wait_mask()
    clicked = desk.session.prompts(1)[0].position
    np.testing.assert_allclose(clicked[1:], SPOT[1:], atol=0.8)
    assert round(clicked[0]) == round(float(index))
    np.testing.assert_allclose(desk.labels.data_to_world(SPOT), image.data_to_world(SPOT))


def test_geometry_reads_the_layers_world_as_lps():
    from napari.layers import Image

    rng = np.random.default_rng(1)
    layer = Image(
        np.zeros(SHAPE),
        scale=(3, 2, 1),
        translate=(5, 6, 7),
        rotate=rng.uniform(-40, 40, 3),
        shear=(0.1, 0.2, 0.3),
        units="mm",
    )
    geometry = geometry_of(layer)
    for index in rng.uniform(0, 20, (5, 3)):
        z, y, x = layer.data_to_world(index)
        np.testing.assert_allclose(geometry.index_to_world(index), (x, y, z), atol=1e-9)
    layer.units = "um"
    assert geometry_of(layer).unit == "micrometer"
    layer.units = "cm"
    np.testing.assert_allclose(geometry_of(layer).affine[:3], 10 * geometry.affine[:3])


def test_the_readers_geometry_is_taken_and_later_moves_are_followed(empty_desk, volume_data):
    exact = Geometry.from_spacing(SHAPE, (2, 1, 1), (11, 12, 13))
    note = {"geometry": exact, "modality": "CT"}
    image = show(empty_desk, volume_data, scale=(2, 1, 1), metadata={"openmedlab": note})
    session = empty_desk.session
    assert session.volume.geometry == exact
    assert session.volume.modality == "CT"
    image.translate = (4, 0, -2)
    assert session.volume.geometry.origin == pytest.approx((9, 12, 17))
    empty_desk.take("point+")
    image.scale = (4, 1, 1)
    assert session.volume.geometry.spacing == pytest.approx((4, 1, 1))
    for layer in (empty_desk.labels, empty_desk.controller.workspace.prompts.points):
        np.testing.assert_allclose(layer.data_to_world(SPOT), image.data_to_world(SPOT))


def test_a_2d_image_is_segmented_too(empty_desk, volume_data):
    desk = empty_desk
    show(desk, volume_data[0], name="slice")
    desk.take("point+")
    desk.viewer.reset_view()
    QTest.qWait(50)
    desk.click((30, 36))
    desk.wait_mask()
    assert desk.labels.data.shape == SHAPE[1:]
    assert desk.labels.data[30, 36] == 1
    assert np.shares_memory(desk.session.labelmap, desk.labels.data)
    desk.labels.undo()
    assert not desk.labels.data.any()
    desk.take("box")
    desk.drag((10, 10), (20, 24))
    desk.wait_mask(lambda m: m[0, 15, 15])


def test_a_multiscale_image_uses_its_finest_level(empty_desk, volume_data):
    levels = [volume_data, volume_data[::2, ::2, ::2]]
    layer = show(empty_desk, levels, multiscale=True, name="pyramid")
    volume = volume_of(layer)
    assert volume.shape == SHAPE
    assert [v.shape for v in volume.pyramid] == [(12, 30, 36)]
    assert empty_desk.labels.data.shape == SHAPE


def test_a_lazy_image_stays_lazy(empty_desk, volume_data):
    desk = empty_desk
    lazy = da.from_array(volume_data, chunks=12)
    show(desk, lazy, name="lazy", contrast_limits=(-30, 30))
    assert desk.session.volume.array is desk.image.data
    desk.take("point+")
    desk.viewer.reset_view()
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask(lambda m: m[SPOT])


def test_layers_that_cannot_be_segmented_get_one_sentence_each(desk, volume_data):
    rgb = desk.viewer.add_image(np.zeros((20, 20, 3), np.uint8), rgb=True, name="photo")
    series = desk.viewer.add_image(np.zeros((2, *SHAPE)), name="series")
    for layer, words in ((rgb, "colour image"), (series, "4 axes")):
        choose(desk, layer)
        assert words in desk.status
        assert repr(layer.name) in desk.status
        assert desk.controller.workspace is None
        assert not desk.widget.tool_buttons["point+"].isEnabled()
    image = desk.viewer.layers["ct"]
    choose(desk, image)
    assert desk.image is image


def test_labels_of_another_grid_are_refused_and_of_the_same_taken(desk):
    before = desk.labels
    small = desk.viewer.add_labels(np.zeros((5, 6, 7), np.uint8), name="small")
    away = desk.viewer.add_labels(np.zeros(SHAPE, np.uint8), name="away", translate=(0, 9, 0))
    for layer, words in ((small, "5, 6, 7"), (away, "lie elsewhere")):
        desk.widget.labels_combo.chosen.emit(layer)
        assert words in desk.status
        assert desk.labels is before
    data = np.zeros(SHAPE, np.uint8)
    data[5, 5, 5] = 4
    mine = desk.viewer.add_labels(data, name="mine", scale=(2, 1, 1), units="mm")
    desk.widget.labels_combo.chosen.emit(mine)
    desk.qtbot.waitUntil(lambda: desk.labels is mine)
    assert desk.session.labelmap is data
    assert [(o.number, o.name) for o in desk.session.objects] == [(4, "label 4")]


def test_layers_renamed_reordered_and_deleted_while_the_method_runs(desk, models):
    desk.controller.choose_method("slow")
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: models.slow.runs == 1)
    desk.image.name = "renamed"
    assert desk.widget.volume_combo.currentText() == "renamed"
    desk.viewer.layers.move(0, 2)
    desk.viewer.layers.remove(desk.labels)
    assert "deleted" in desk.status
    models.slow.gate.set()
    desk.wait_mask(lambda m: m[SPOT])
    QTest.mouseClick(desk.widget.bring_back_button, LEFT)
    assert desk.labels.data[SPOT] == 1
    desk.viewer.layers.remove(desk.controller.workspace.prompts.points)
    assert len(desk.session.prompts(1)) == 1
    desk.take("point+")
    desk.go_to(OTHER)
    desk.click(OTHER)
    desk.wait_mask(lambda m: m[OTHER])
    assert len(desk.session.prompts(1)) == 2


def test_deleting_the_image_ends_its_session_with_a_sentence(desk, models):
    desk.controller.choose_method("slow")
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.qtbot.waitUntil(lambda: models.slow.runs == 1)
    desk.viewer.layers.remove(desk.image)
    models.slow.gate.set()
    assert desk.controller.workspace is None
    assert "was removed" in desk.status
    desk.settle()


def test_several_images_keep_their_own_sessions(desk, volume_data):
    first = desk.image
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    second = desk.viewer.add_image(volume_data[:, :40], name="mr", scale=(2, 1, 1), units="mm")
    choose(desk, second)
    assert desk.session.volume.shape == (24, 40, 72)
    choose(desk, first)
    assert desk.mask()[SPOT]
    assert "mr segmentation" not in desk.viewer.layers


def test_neighbours_are_protected_unless_the_policy_says_otherwise(desk):
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    first = desk.mask(1)
    desk.widget.add_object_button.click()
    near = (12, 30, 42)
    desk.take("point+")
    desk.click(near)
    desk.wait_mask(number=2)
    np.testing.assert_array_equal(desk.mask(1), first)
    combo = desk.widget.policy_combo
    combo.setCurrentIndex(combo.findText("allow overlap"))
    combo.activated.emit(combo.currentIndex())
    QTest.mouseClick(desk.widget.run_button, LEFT)
    desk.wait_mask(lambda m: (m & first).any(), number=2)
