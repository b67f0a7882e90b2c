"""The object list, the policy, saving, and the manifest."""

import json
from importlib import resources

import numpy as np
from napari_desk import LEFT
from npe2 import PluginManifest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from napari_openmedlab.widgets.objects_panel import LOCKED, NAME, SHOWN
from openmedlab.core import LabelPolicy
from openmedlab.io import read_labels

SPOT = (12, 30, 36)


def click_spot(desk):
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)


def test_objects_are_named_locked_hidden_and_removed(desk):
    table = desk.widget.object_table
    table.item(0, NAME).setText("spleen")
    assert desk.session.object(1).name == "spleen"
    click_spot(desk)
    desk.wait_mask()
    table.item(0, SHOWN).setCheckState(Qt.CheckState.Unchecked)
    assert desk.labels.get_color(1)[3] == 0
    table.item(0, LOCKED).setCheckState(Qt.CheckState.Checked)
    desk.click((12, 30, 50))
    assert "locked" in desk.status
    assert not desk.mask()[12, 30, 50]
    QTest.mouseClick(desk.widget.add_object_button, LEFT)
    assert table.currentRow() == 1
    assert desk.labels.selected_label == 2
    desk.labels.selected_label = 1
    assert table.currentRow() == 0
    QTest.mouseClick(desk.widget.remove_object_button, LEFT)
    assert not desk.mask().any()
    assert [o.number for o in desk.session.objects] == [2]
    assert not len(desk.controller.workspace.prompts.points.data)
    desk.labels.undo()
    assert desk.mask().any()


def test_the_policy_list_takes_numbers_only(desk):
    combo = desk.widget.policy_combo
    combo.setCurrentIndex(combo.findText("protect a list"))
    combo.activated.emit(combo.currentIndex())
    line = desk.widget.policy_list
    assert line.isVisible()
    line.setText("2, 5")
    line.editingFinished.emit()
    assert desk.session.policy == LabelPolicy("protect a list", frozenset({2, 5}))
    line.setText("two")
    line.editingFinished.emit()
    assert "label numbers" in desk.status
    assert desk.session.policy.labels == {2, 5}


def test_saving_writes_the_mask_and_its_manifest(desk, tmp_path):
    click_spot(desk)
    desk.wait_mask()
    target = tmp_path / "mask.nii.gz"
    desk.controller.save(target)
    desk.qtbot.waitUntil(lambda: "Saved" in desk.status, timeout=8000)
    back = read_labels(target)
    np.testing.assert_array_equal(back.array, desk.session.labelmap)
    assert back.geometry.almost_equal(desk.session.volume.geometry, 1e-4)
    record = json.loads((tmp_path / "mask.nii.gz.manifest.json").read_text())
    assert record["method"]["name"] == "fast"
    assert record["prompts"]["object 1"][0]["kind"] == "point"
    desk.controller.save(tmp_path / "mask.gif")
    desk.qtbot.waitUntil(lambda: ".gif" in desk.status, timeout=8000)


def test_closing_the_dock_gives_keys_and_layers_back(desk):
    viewer, controller = desk.viewer, desk.controller
    viewer.window.remove_dock_widget(desk.widget.parent())
    desk.qtbot.waitUntil(lambda: controller.workspace is None, timeout=3000)
    assert not any(str(key) == "Q" for key in viewer.keymap)
    viewer.add_image(np.zeros((4, 5, 6)))
    viewer.layers.clear()


def test_every_command_of_the_manifest_resolves():
    path = resources.files("napari_openmedlab") / "napari.yaml"
    manifest = PluginManifest.from_file(str(path))
    for command in manifest.contributions.commands:
        assert callable(_resolve(command.python_name))
    assert "Segment" in [w.display_name for w in manifest.contributions.widgets]


def _resolve(reference):
    from importlib import import_module

    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
