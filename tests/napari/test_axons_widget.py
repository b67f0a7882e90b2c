"""The *Axons* widget driven as a user does: try, tune, run, cancel, resume, measure."""

import csv

import numpy as np
import pytest
from napari.layers import Labels, Points
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QMessageBox
from scipy import ndimage

from napari_openmedlab.axons.map import DONE, BlockMap
from napari_openmedlab.axons.trial import visible_region
from napari_openmedlab.widgets.axons import AxonsWidget
from openmedlab.axons.demo import winding_axons
from openmedlab.axons.methods import METHODS, SegmenterChoice
from openmedlab.blocks import BlockEvent, BlockGrid
from openmedlab.core import Geometry, Volume
from openmedlab.io import read_labels, write_volume

LEFT = Qt.MouseButton.LeftButton
WAIT = 120_000


class Bright:
    """Calls axon what is brighter than the mean, surely from two standard deviations on."""

    halo = (4, 4, 4)
    alignment = (1, 1, 1)

    def __init__(self, statistics):
        self.mean, self.std = statistics.mean, statistics.std

    def is_empty(self, block):
        return bool(block.max() <= self.mean)

    def segment_block(self, block, halo):
        inner = tuple(slice(h, n - h) for h, n in zip(halo, block.shape, strict=True))
        return np.clip((block[inner] - self.mean) / (4 * self.std), 0, 1).astype(np.float32)


BRIGHT = SegmenterChoice("bright", "Bright voxels", "", 0.5, 0.5, lambda s, _: Bright(s))


@pytest.fixture
def brain(tmp_path):
    return write_volume(winding_axons((32, 96, 96), fibres=4), tmp_path / "brain.ome.zarr")


@pytest.fixture
def widget(make_napari_viewer, qtbot, brain, monkeypatch):
    monkeypatch.setitem(METHODS, "bright", BRIGHT)
    viewer = make_napari_viewer(show=True)
    viewer.window.resize(1000, 700)
    viewer.open(str(brain), plugin="napari-openmedlab")
    _, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Axons")
    controller = widget.controller
    controller.workers, controller.block = 0, (32, 48, 48)
    controller.choose_method("bright")
    viewer.dims.set_point(0, 48)
    return widget


def press(widget, button, qtbot):
    QTest.mouseClick(button, LEFT)
    qtbot.waitUntil(lambda: not widget.controller.busy, timeout=WAIT)
    qtbot.wait(20)


def test_a_try_lies_on_the_image_and_follows_the_threshold(widget, qtbot):
    assert isinstance(widget, AxonsWidget)
    press(widget, widget.try_button, qtbot)
    controller = widget.controller
    layer, trial = controller.trial_layer, controller.trial
    assert "Bright voxels" in widget.status_label.text()
    corner = layer.data_to_world((0, 0, 0))
    expected = controller.image.data_to_world(trial.region.start)
    np.testing.assert_allclose(corner, expected)
    before = layer.data.sum()
    assert before > 0
    widget.threshold_slider.setValue(90)
    assert layer.data.sum() < before


def sizes_of_pieces(labels):
    numbers, _ = ndimage.label(np.asarray(labels) > 0, np.ones((3, 3, 3)))
    return np.sort(np.bincount(numbers.ravel())[1:])


def test_small_pieces_go_from_the_try_at_once_and_from_the_run(widget, qtbot, brain):
    assert widget.smallest_spin.value() == BRIGHT.smallest
    press(widget, widget.try_button, qtbot)
    layer = widget.controller.trial_layer
    sizes = sizes_of_pieces(layer.data)
    assert len(sizes) > 1
    least = int(sizes[-1])
    widget.smallest_spin.setValue(least)
    assert layer.data.sum() == sizes[sizes >= least].sum()
    press(widget, widget.run_button, qtbot)
    assert sizes_of_pieces(read_labels(brain / "labels" / "axons").array[:])[0] >= least
    widget.controller.choose_method("ridge")
    assert widget.smallest_spin.value() == METHODS["ridge"].smallest
    assert widget.controller.settings().smallest is None


def test_a_whole_run_fills_the_map_and_leaves_labels_skeletons_and_a_table(
    widget, qtbot, brain, tmp_path
):
    press(widget, widget.run_button, qtbot)
    controller = widget.controller
    assert "axon pieces by Bright voxels" in widget.status_label.text()
    assert (controller.map.states >= DONE - 1).all()
    on_disk = read_labels(brain / "labels" / "axons").array
    shown = controller.labels_layer
    assert isinstance(shown, Labels)
    finest = shown.data[0] if shown.multiscale else shown.data
    np.testing.assert_array_equal(np.asarray(finest), np.asarray(on_disk))
    assert on_disk[:].max() > 0
    press(widget, widget.run_button, qtbot)
    assert "an earlier run had made them" in widget.status_label.text()
    press(widget, widget.trace_button, qtbot)
    assert "mm of axon" in widget.status_label.text()
    assert any(isinstance(layer, Points) for layer in widget.viewer.layers)
    assert widget.lengths_table.rowCount() > 0
    controller.export(tmp_path / "pieces.csv")
    rows = list(csv.DictReader((tmp_path / "pieces.csv").open()))
    assert len(rows) == widget.lengths_table.rowCount()


@pytest.mark.parametrize("corrected", [False, True])
def test_skeletons_lie_on_the_labels_in_any_unit_and_a_new_run_forgets_them(
    widget, qtbot, tmp_path, corrected
):
    controller, drawn = widget.controller, winding_axons((32, 96, 96), fibres=4)
    geometry = Geometry.from_spacing(drawn.shape, (3e-3, 2e-3, 1e-3), (7.0, -2.0, 5.0))
    path = write_volume(Volume(drawn.read(), geometry, "LS", "mm"), tmp_path / "mm.ome.zarr")
    (image,) = widget.viewer.open(str(path), plugin="napari-openmedlab")
    controller.choose_image(image)
    if corrected:
        controller.choose_voxel_size((4.0, 3.0, 2.0))
    press(widget, widget.run_button, qtbot)
    press(widget, widget.trace_button, qtbot)
    (points,) = (layer for layer in widget.viewer.layers if isinstance(layer, Points))
    on_disk = read_labels(path / "labels" / "axons").array[:]
    near = ndimage.binary_dilation(on_disk > 0)
    assert near[tuple(np.rint(points.data).astype(int).T)].mean() > 0.95
    corner = np.zeros(3)
    np.testing.assert_allclose(points.data_to_world(corner), image.data_to_world(corner))
    controller.start(restart=True)
    assert controller.traced is None
    assert widget.lengths_table.rowCount() == 0
    assert not widget.export_button.isEnabled()
    qtbot.waitUntil(lambda: not controller.busy, timeout=WAIT)


def test_other_rules_leave_a_finished_result_until_the_user_agrees(widget, qtbot, monkeypatch):
    press(widget, widget.run_button, qtbot)
    controller = widget.controller
    layer, done = controller.labels_layer, controller.map
    before = sizes_of_pieces(layer.data[0] if layer.multiscale else layer.data)
    widget.smallest_spin.setValue(int(before[-1]))
    press(widget, widget.run_button, qtbot)
    assert "made with other rules" in widget.status_label.text()
    assert "begin anew" in widget.status_label.text()
    asked, answer = [], QMessageBox.StandardButton.No
    monkeypatch.setattr(QMessageBox, "question", lambda *told: asked.append(told[2]) or answer)
    press(widget, widget.restart_button, qtbot)
    assert layer in widget.viewer.layers
    assert controller.map is done
    answer = QMessageBox.StandardButton.Yes
    press(widget, widget.restart_button, qtbot)
    assert len(asked) == 2
    assert layer not in widget.viewer.layers
    after = controller.labels_layer
    after = sizes_of_pieces(after.data[0] if after.multiscale else after.data)
    assert len(after) == (before == before[-1]).sum()


def test_cancel_keeps_blocks_and_the_next_run_goes_on(widget, qtbot, brain):
    controller = widget.controller
    taken = controller._events.put

    def put_and_cancel(event):
        taken(event)
        if event.state in ("done", "empty"):
            controller.cancel()

    controller._events = _Events(controller._events, put_and_cancel)
    press(widget, widget.run_button, qtbot)
    assert "and the next run goes on from there" in widget.status_label.text()
    kept = controller.map.finished
    assert 0 < kept < len(controller.map.grid)
    assert widget.run_button.text() == "Resume the run"
    controller._events.put = taken
    press(widget, widget.run_button, qtbot)
    assert "axon pieces" in widget.status_label.text()
    assert controller.map.finished == len(controller.map.grid)


class _Events:
    def __init__(self, queue, put):
        self.put, self.get_nowait = put, queue.get_nowait


def test_what_cannot_be_run_is_said_in_one_sentence(widget, qtbot, monkeypatch):
    controller = widget.controller
    controller.choose_method("axon-seg")
    assert "needs its weights" in widget.status_label.text()
    controller.choose_method("bright")
    loose = widget.viewer.add_image(np.zeros((8, 20, 20), np.uint16), name="loose")
    controller.choose_image(loose)
    QTest.mouseClick(widget.run_button, LEFT)
    assert "save it as OME-Zarr" in widget.status_label.text()
    controller.choose_image(widget.viewer.add_image(np.zeros((20, 20)), name="plane"))
    assert "one slice" in widget.status_label.text()


def test_a_corrected_voxel_size_rescales_the_layer_and_the_run(widget):
    controller = widget.controller
    for spin, size in zip(widget.voxel_spins, (3.0, 2.0, 2.5), strict=True):
        spin.setValue(size)
    widget.voxel_spins[0].editingFinished.emit()
    assert tuple(controller.image.scale) == (3.0, 2.0, 2.5)
    assert controller.settings().source.open().geometry.spacing == pytest.approx((3.0, 2.0, 2.5))


def test_the_visible_part_is_small_and_inside(widget):
    controller = widget.controller
    region = visible_region(widget.viewer, controller.image, (400, 400))
    assert region.clipped((32, 96, 96)) == region
    assert region.shape[0] <= 32


def test_a_map_tells_what_a_column_is():
    grid = BlockGrid((64, 64, 64), (32, 32, 32))
    blocks = BlockMap(grid)
    blocks.note(BlockEvent("segment", 0, grid.region(0), "done"))
    blocks.note(BlockEvent("segment", 4, grid.region(4), "empty"))
    assert blocks.finished == 2
    assert blocks.words(0, 0) == "y 0 to 32, x 0 to 32: 1 done, 1 empty"
