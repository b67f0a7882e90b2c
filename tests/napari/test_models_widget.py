"""The Models widget by its buttons, with a publisher on the loopback."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from napari_desk import LEFT, Desk, FakeBalls
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog

from napari_openmedlab.widgets.models import STATE, ModelsWidget
from napari_openmedlab.widgets.models_actions import QDesktopServices
from napari_openmedlab.widgets.models_jobs import Job, jobs
from openmedlab.zoo import WeightsStore, build_network

SPOT = (12, 30, 36)


def checkpoint(network: str = "one", seed: int = 0) -> bytes:
    torch.manual_seed(seed)
    buffer = io.BytesIO()
    torch.save(build_network(network).state_dict(), buffer)
    return buffer.getvalue()


class Hands:
    """The widget, and real clicks on its buttons."""

    def __init__(self, widget, qtbot):
        self.widget, self.qtbot = widget, qtbot

    def press(self, button):
        assert button.isVisible()
        assert button.isEnabled()
        QTest.mouseClick(button, LEFT)

    def settle(self):
        self.qtbot.waitUntil(lambda: not jobs.any, timeout=20_000)

    def wait_for(self, condition):
        self.qtbot.waitUntil(condition, timeout=20_000)

    def state(self, name):
        return self.widget.rows[name].text(STATE)

    @property
    def status(self):
        return self.widget.status_label.text()


@pytest.fixture
def published(home, add_card, publisher):
    """A model ``a`` on the publisher, its licence not accepted yet."""
    publisher.files["a.pth"] = checkpoint()
    add_card("a", url=publisher.url("a.pth"), size=len(publisher.files["a.pth"]))
    return publisher


@pytest.fixture
def open_widget(home, qtbot):
    def opened():
        widget = ModelsWidget()
        qtbot.addWidget(widget)
        widget.resize(420, 800)
        widget.show()
        return Hands(widget, qtbot)

    yield opened
    qtbot.waitUntil(lambda: not jobs.any, timeout=20_000)


@pytest.fixture
def hands(published, open_widget):
    return open_widget()


@pytest.fixture
def choose_file(monkeypatch):
    def choose(path):
        monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))

    return choose


def parts(home: Path) -> list[str]:
    return sorted(p.name for p in home.rglob("*.p*th*") if p.suffix != ".json")


def test_licence_then_a_download_over_a_broken_connection(hands, published):
    widget = hands.widget
    published.break_after = [1000]
    assert hands.state("a") == "needs weights"
    assert "MIT" in widget.licence_bar.text.text()
    assert not widget.download_button.isEnabled()
    hands.press(widget.accept_button)
    assert not widget.licence_bar.isVisible()
    hands.press(widget.download_button)
    hands.settle()
    assert hands.status == "Model a is ready."
    assert hands.state("a") == "ready"
    assert published.ranges == [None, "bytes=1000-"]
    assert WeightsStore().find("a") is not None
    assert "its tensors fit" in widget.details_label.text()
    assert not widget.download_button.isEnabled()


def test_the_licence_is_asked_once(hands, open_widget):
    hands.press(hands.widget.accept_button)
    again = open_widget().widget
    assert not again.licence_bar.isVisible()
    assert again.download_button.isEnabled()
    assert "accepted" in again.details_label.text()


def test_a_stopped_download_goes_on_where_it_was(hands, published):
    widget = hands.widget
    published.hold_after = 2000
    hands.press(widget.accept_button)
    hands.press(widget.download_button)
    hands.wait_for(lambda: "2 kB of" in widget.job_label.text())
    assert 0 < widget.progress_bar.value() < widget.progress_bar.maximum()
    assert hands.state("a").endswith("%")
    hands.press(widget.cancel_button)
    assert widget.job_label.text() == "Stopping …"
    assert not widget.cancel_button.isEnabled()
    published.go_on.set()
    hands.settle()
    assert hands.status == "The download was stopped; 2 kB are kept for the next try."
    assert not widget.progress_bar.isVisible()
    assert widget.download_button.text().startswith("Resume (2 kB of")
    hands.press(widget.download_button)
    hands.settle()
    assert hands.state("a") == "ready"
    assert published.ranges == [None, "bytes=2000-"]


def test_a_download_outlives_the_widget(hands, published, open_widget):
    published.hold_after = 2000
    hands.press(hands.widget.accept_button)
    hands.press(hands.widget.download_button)
    hands.widget.close()
    again = open_widget()
    again.wait_for(lambda: "2 kB of" in again.widget.job_label.text())
    published.go_on.set()
    again.settle()
    assert again.state("a") == "ready"


def test_another_file_than_published_is_refused_and_not_kept(
    home, add_card, publisher, open_widget
):
    publisher.files["a.pth"] = checkpoint()
    add_card("a", url=publisher.url("a.pth"), sha256="0" * 64)
    hands = open_widget()
    hands.press(hands.widget.accept_button)
    hands.press(hands.widget.download_button)
    hands.settle()
    assert "is not the file that was published" in hands.status
    assert hands.state("a") == "needs weights"
    assert WeightsStore().find("a") is None
    assert parts(home) == []


def test_no_network_is_one_sentence(hands, published):
    published.close()
    hands.press(hands.widget.accept_button)
    hands.press(hands.widget.download_button)
    hands.settle()
    assert "check the network" in hands.status
    assert hands.widget.download_button.isEnabled()


def test_an_error_nobody_foresaw_is_one_sentence(hands, monkeypatch):
    monkeypatch.setattr(WeightsStore, "fetch", lambda *_: 1 / 0)
    hands.press(hands.widget.accept_button)
    hands.press(hands.widget.download_button)
    hands.settle()
    assert "ZeroDivisionError" in hands.status


def test_a_file_chosen_by_hand_is_recognised(hands, add_card, tmp_path, choose_file):
    add_card("b", network="two", page="https://example.org/drive")
    hands.widget.refresh()
    assert hands.state("b") == "manual download"
    file = tmp_path / "some.pth"
    file.write_bytes(checkpoint("two"))
    choose_file(file)
    hands.press(hands.widget.import_button)
    hands.settle()
    assert hands.status == "some.pth is Model b; it is stored and ready."
    assert (hands.state("a"), hands.state("b")) == ("needs weights", "ready")


@pytest.mark.parametrize("content", [b"", b"no checkpoint"])
def test_a_file_that_is_no_checkpoint_is_one_sentence(hands, tmp_path, choose_file, content):
    file = tmp_path / "some.pth"
    file.write_bytes(content)
    choose_file(file)
    hands.press(hands.widget.import_button)
    hands.settle()
    assert "some.pth" in hands.status
    assert "\n" not in hands.status
    assert WeightsStore().find("a") is None


def test_a_file_that_fits_several_models_is_asked_about(hands, add_card, tmp_path, choose_file):
    add_card("b", page="https://example.org/drive")
    hands.widget.refresh()
    file = tmp_path / "some.pth"
    file.write_bytes(checkpoint())
    choose_file(file)
    hands.widget.show_model("b")
    hands.press(hands.widget.import_button)
    hands.settle()
    assert "some.pth fits several models" in hands.widget.question_bar.text.text()
    assert hands.widget.yes_button.text() == "It is Model b"
    hands.press(hands.widget.yes_button)
    hands.settle()
    assert (hands.state("a"), hands.state("b")) == ("needs weights", "ready")


def test_a_file_only_a_browser_gets_opens_its_page(hands, add_card, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toString()))
    add_card("b", page="https://example.org/drive")
    hands.widget.refresh()
    hands.widget.show_model("b")
    assert not hands.widget.download_button.isVisible()
    hands.press(hands.widget.page_button)
    assert opened == ["https://example.org/drive"]


def test_verify_and_remove(hands, tmp_path, choose_file, home):
    widget = hands.widget
    file = tmp_path / "a.pth"
    file.write_bytes(checkpoint())
    choose_file(file)
    hands.press(widget.import_button)
    hands.settle()
    hands.press(widget.verify_button)
    hands.settle()
    assert hands.status == "Model a is as it was stored, and fits its network."
    stored = WeightsStore().find("a")
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    hands.press(widget.verify_button)
    hands.settle()
    assert "changed since it was stored" in hands.status
    hands.press(widget.remove_button)
    hands.press(widget.no_button)
    assert stored.exists()
    hands.press(widget.remove_button)
    hands.press(widget.yes_button)
    hands.settle()
    assert not stored.exists()
    assert hands.state("a") == "needs weights"
    assert not widget.remove_button.isEnabled()


def test_weights_that_come_by_other_means_are_seen(hands, tmp_path):
    file = tmp_path / "a.pth"
    file.write_bytes(checkpoint())
    WeightsStore().import_checkpoint(file)
    hands.wait_for(lambda: hands.state("a") == "ready")


def test_damaged_records_are_one_sentence(home, open_widget):
    (home / "models").mkdir(parents=True)
    (home / "models" / "store.json").write_text("{")
    hands = open_widget()
    assert "store.json cannot be read" in hands.status
    assert hands.widget.rows == {}


def test_the_speed_is_that_of_the_last_seconds(monkeypatch):
    times = iter([0.0, 1.0, 2.0, 10.0, 11.0])
    monkeypatch.setattr("time.monotonic", lambda: next(times))
    job = Job("Fetching")
    speeds = []
    for done in (500, 1500, 2500, 3500, 8500):
        job.report(done, 10_000, "file")
        speeds.append(job.speed)
    assert speeds == [0, 1000, 1000, 0, 5000]
    assert str(job) == "file, 5 kB/s"


@pytest.mark.slow
def test_from_a_click_to_a_downloaded_model(
    published, make_napari_viewer, qtbot, volume_data, monkeypatch
):
    class Balls(FakeBalls):
        def __init__(self, network, *, device, version):
            super().__init__("balls")

    monkeypatch.setattr("tiny_networks.Predictor", Balls)
    published.break_after = [1000]
    viewer = make_napari_viewer(show=True)
    viewer.add_image(volume_data, name="ct", scale=(2, 1, 1), units="mm")
    desk = Desk(viewer, qtbot)
    desk.take("point+")
    desk.go_to(SPOT)
    desk.click(SPOT)
    desk.wait_mask()
    desk.settle()
    combo = desk.widget.method_combo
    row = combo.findData("a")
    assert "needs weights" in combo.itemText(row)
    combo.setCurrentIndex(row)
    combo.activated.emit(row)
    prompts = desk.session.prompts(1)
    QTest.mouseClick(desk.widget.weights_button, LEFT)
    _, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Models")
    hands = Hands(widget, qtbot)
    hands.press(widget.accept_button)
    hands.press(widget.download_button)
    hands.wait_for(lambda: "balls" in desk.widget.made_label.text())
    assert combo.itemText(row) == "Model a"
    assert not desk.widget.weights_button.isVisible()
    assert desk.session.prompts(1) == prompts
    assert np.all(desk.mask()[SPOT])
    hands.press(widget.remove_button)
    hands.press(widget.yes_button)
    hands.wait_for(lambda: "needs weights" in combo.itemText(row))
    assert desk.mask().any()
