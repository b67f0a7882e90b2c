"""What a closed widget's controller hears of work that ends as it goes: nothing."""

import time

import pytest
from psygnal import Signal, emit_queued

from napari_openmedlab.background import Background
from napari_openmedlab.widgets.axons import AxonsWidget
from openmedlab.axons.demo import winding_axons
from openmedlab.core import InputError
from openmedlab.engine import InferenceThread, TicketState
from openmedlab.io import write_volume

WIDGETS = ["Segment", "Whole body", "Templates", "Localize", "Axons", "Fine-tune"]


def ended(ticket):
    """Wait for work without letting Qt deliver its result."""
    last = time.monotonic() + 30
    while ticket.state in (TicketState.QUEUED, TicketState.RUNNING):
        assert time.monotonic() < last, "the work did not end"
        time.sleep(0.005)


def fail():
    raise InputError("no such file")


@pytest.mark.parametrize("work", [lambda: "result", fail])
def test_results_that_wait_when_the_widget_closes_are_dropped(qapp, work):
    heard = []
    thread = InferenceThread("closing")
    background = Background(thread)
    ended(
        background.submit(
            lambda progress, _: (progress.report(1, 2, "half"), work()),
            heard.append,
            heard.append,
            lambda *given: heard.append(given),
        )
    )
    background.close()
    emit_queued()
    thread.close()
    assert heard == []


def test_a_result_that_nobody_wants_any_more_is_handed_back(qapp):
    heard, back = [], []
    thread = InferenceThread("closing")
    background = Background(thread)
    ended(background.submit(lambda *_: "session", heard.append, heard.append, unwanted=back.append))
    background.close()
    emit_queued()
    thread.close()
    assert (heard, back) == ([], ["session"])


@pytest.mark.parametrize("name", WIDGETS)
def test_nothing_listens_to_a_closed_controller(
    make_napari_viewer, qtbot, name, monkeypatch, tmp_path
):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    viewer = make_napari_viewer(show=True)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", name)
    controller = widget.controller
    runner = getattr(controller, "runner", None)
    viewer.window.remove_dock_widget(dock)
    for owner in filter(None, (controller, runner)):
        signals = [k for k, v in vars(type(owner)).items() if isinstance(v, Signal)]
        assert signals
        assert [k for k in signals if len(getattr(owner, k))] == []


def test_an_axon_run_that_ends_as_the_viewer_closes_shows_no_map(
    make_napari_viewer, qtbot, tmp_path, monkeypatch
):
    brain = write_volume(winding_axons((16, 48, 48), fibres=2), tmp_path / "brain.ome.zarr")
    viewer = make_napari_viewer(show=True)
    viewer.open(str(brain), plugin="napari-openmedlab")
    dock, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Axons")
    assert isinstance(widget, AxonsWidget)
    controller = widget.controller
    controller.workers = 0
    controller.choose_method("ridge")
    widget.run_button.click()
    for ticket in controller._tickets:
        ended(ticket)
    finished = controller.map.finished
    viewer.window.remove_dock_widget(dock)
    emit_queued()
    assert controller.map.finished == finished == 0
    assert [type(layer).__name__ for layer in viewer.layers] == ["Image"]
