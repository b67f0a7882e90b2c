"""The *Models* dock widget: which models there are, and getting their weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import napari
from psygnal import SignalInstance
from psygnal.qt import start_emitting_from_queue
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QColor, QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QHeaderView,
    QLabel,
    QScrollArea,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.widgets.models_actions import ActionsPanel
from napari_openmedlab.widgets.models_jobs import jobs
from napari_openmedlab.widgets.models_text import details, state_words
from openmedlab.core import OpenMedLabError
from openmedlab.zoo import ModelInfo, WeightsStore

QUEUE_MS = 10
PULSE_MS = 150
TITLE, STATE = range(2)
HEADERS = ("model", "state", "weights")
ROW = 22
NAME_ROLE = Qt.ItemDataRole.UserRole
GREEN, AMBER, GREY, ORANGE = "#2fae6a", "#d08c00", "#8a8f98", "#e08a2e"
COLORS = {"ready": GREEN, "needs weights": AMBER}
Links = list[tuple[SignalInstance, Callable[..., None]]]


def open_models(viewer: napari.viewer.Viewer, name: str) -> ModelsWidget:
    """Open the *Models* widget of a viewer at one model."""
    dock, widget = viewer.window.add_plugin_dock_widget("napari-openmedlab", "Models")
    dock.show()
    dock.raise_()
    widget.show_model(name)
    made: ModelsWidget = widget
    return made


class ModelsWidget(QWidget):
    """All model cards with their state, and what can be done about it.

    Attributes
    ----------
    model_list
        One row for each model, in `rows` by name.
    details_label
        The chosen model's card.
    licence_bar, accept_button
        Shown until the licence of weights that can be downloaded was accepted.
    download_button, page_button, import_button, verify_button, remove_button
        What can be done.
    question_bar, yes_button, no_button
        Shown when something has to be confirmed.
    job_label, progress_bar, cancel_button
        The work under way.
    status_label
        What came of it, in one sentence.
    """

    def __init__(self) -> None:
        super().__init__()
        start_emitting_from_queue(QUEUE_MS)
        self._models: dict[str, ModelInfo] = {}
        self._shown = ""
        self.rows: dict[str, QTreeWidgetItem] = {}
        self.model_list = _list()
        self.details_label = _text()
        self.details_label.setOpenExternalLinks(True)
        self.details_label.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.status_label = _text()
        self._actions = ActionsPanel(self.refresh)
        self._pulse = QTimer(self)
        self._pulse.setInterval(PULSE_MS)
        self._pulse.timeout.connect(self._show_work)
        self._name_parts()
        self._lay_out()
        self._connect()
        self.refresh()

    def _name_parts(self) -> None:
        actions, work = self._actions, self._actions.work
        self.licence_bar = actions.licence_bar
        self.accept_button = actions.accept_button
        self.download_button = actions.download_button
        self.page_button = actions.page_button
        self.import_button = actions.import_button
        self.verify_button = actions.verify_button
        self.remove_button = actions.remove_button
        self.question_bar = actions.question_bar
        self.yes_button = actions.yes_button
        self.no_button = actions.no_button
        self.job_label = work.label
        self.progress_bar = work.progress_bar
        self.cancel_button = work.cancel_button

    def _lay_out(self) -> None:
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(self.details_label)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addWidget(self.model_list)
        column.addWidget(scroll, 1)
        column.addWidget(self._actions)
        column.addWidget(self.status_label)
        self.setMinimumWidth(380)

    def _connect(self) -> None:
        self.model_list.currentItemChanged.connect(self._on_row)
        links: Links = [
            (jobs.told, self._tell),
            (jobs.changed, self.refresh),
            (jobs.undecided, self._actions.ask_which),
            (jobs.weights_changed, self.refresh),
        ]
        for signal, slot in links:
            signal.connect(slot)
        self.destroyed.connect(partial(_disconnect, links))

    def showEvent(self, event: QShowEvent | None) -> None:  # noqa: N802 - Qt's name
        """Look again: weights may have come by other means."""
        super().showEvent(event)
        self.refresh()

    def show_model(self, name: str) -> None:
        """Choose a model; names that have no card are ignored."""
        if name in self.rows:
            self.model_list.setCurrentItem(self.rows[name])

    def refresh(self) -> None:
        """Show the models as they are now."""
        try:
            self._models = {info.card.name: info for info in WeightsStore().list_models()}
        except OpenMedLabError as error:
            self._models = {}
            self._tell(str(error), True)
        if self._shown not in self._models:
            self._shown = next(iter(self._models), "")
        self._fill_list()
        self._show_model()
        self._show_work()
        if jobs.any:
            self._pulse.start()
        else:
            self._pulse.stop()

    def _fill_list(self) -> None:
        self.model_list.blockSignals(True)
        self.model_list.clear()
        self.model_list.setFixedHeight(ROW * (min(len(self._models), 14) + 1) + 8)
        self.rows = {name: _row(info) for name, info in self._models.items()}
        self.model_list.addTopLevelItems(list(self.rows.values()))
        if self._shown in self.rows:
            self.model_list.setCurrentItem(self.rows[self._shown])
        self.model_list.blockSignals(False)

    def _show_fraction(self, name: str) -> None:
        job = jobs.get(name)
        if job is not None and job.total:
            self.rows[name].setText(STATE, f"{int(100 * job.fraction)} %")

    def _show_model(self) -> None:
        info = self._models.get(self._shown)
        self.details_label.setText(details(info) if info is not None else "")
        self._actions.show_model(info)

    def _on_row(self, row: QTreeWidgetItem | None) -> None:
        if row is not None:
            self._shown = row.data(TITLE, NAME_ROLE)
            self._show_model()

    def _show_work(self) -> None:
        for name in self.rows:
            self._show_fraction(name)
        self._actions.work.show_work(self._shown)

    def _tell(self, text: str, error: bool) -> None:
        self.status_label.setText(text)
        self.status_label.setStyleSheet(f"color: {ORANGE};" if error else "")


def _list() -> QTreeWidget:
    made = QTreeWidget()
    made.setHeaderLabels(HEADERS)
    made.setRootIsDecorated(False)
    made.setStyleSheet(f"QTreeView::item {{ height: {ROW}px; }}")
    made.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    header = made.header()
    assert header is not None
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    return made


def _row(info: ModelInfo) -> QTreeWidgetItem:
    state, detail = state_words(info)
    row = QTreeWidgetItem([info.card.title, state, detail])
    row.setData(TITLE, NAME_ROLE, info.card.name)
    row.setForeground(STATE, QColor(COLORS.get(state, GREY)))
    for column in range(len(HEADERS)):
        row.setToolTip(column, row.text(column))
    return row


def _text() -> QLabel:
    label = QLabel()
    label.setWordWrap(True)
    return label


def _disconnect(links: Links) -> None:
    """Let go of what outlives the widget (called when Qt destroys it)."""
    for signal, slot in links:
        signal.disconnect(slot)
