"""The *Localize* dock widget: organs of templates found in a scan, looked at, segmented."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import napari
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.localizing import LocalizeController
from napari_openmedlab.widgets.dock import Dock
from napari_openmedlab.widgets.layer_combo import LayerCombo
from napari_openmedlab.widgets.localize_organs import OrganTable, TemplateList
from napari_openmedlab.widgets.small import fill_width, timer, wrapped_label
from openmedlab import zoo
from openmedlab.localization.methods import LOCALIZERS, LocalizerChoice

PROGRESS_MS = 150
KEYS = {
    "accept": "Shift-Y",
    "reject": "Shift-X",
    "next organ": "Shift-E",
    "next scan": "Shift-F",
}


class LocalizeWidget(Dock):
    """Templates at the left, the organs of the open scan at the right, the cohort below.

    Parameters
    ----------
    viewer
        The viewer whose scan is looked at.

    Attributes
    ----------
    controller
        Does the work; scripts may call it directly.
    template_list, organ_table
        What is looked for, and what was found.
    library_button, image_combo, localizer_combo, method_combo, run_button, cancel_button, \
progress_bar
        What their names say.
    accept_button, accept_sure_button, reject_button, template_button, first_button, last_button
        What can be done with the organ chosen.
    cohort_button, next_button, cohort_label, counts_label, status_label
        The folder of scans and what was decided.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.viewer = viewer
        self.controller = LocalizeController(viewer)
        self.template_list = TemplateList(self.controller)
        self.organ_table = OrganTable(self.controller)
        self.image_combo = LayerCombo(viewer, Image)
        self._make_parts()
        self._lay_out()
        self._connect()
        self.end_with(self._bind_keys(), self.image_combo.close_events, self.controller.close)
        self._soon.start()

    # ------------------------------------------------------------------ look
    def _make_parts(self) -> None:
        self.library_button = QPushButton("Template library …")
        self.localizer_combo, self.method_combo = QComboBox(), QComboBox()
        for name in LOCALIZERS:
            self.localizer_combo.addItem(name, name)
        for name, offered in zoo.methods().items():
            state = "" if offered.state == "ready" else f" - {offered.state}"
            self.method_combo.addItem(f"{offered.method.title}{state}", name)
        for combo in (self.localizer_combo, self.method_combo):
            fill_width(combo)
        self.localizer_combo.setToolTip("What finds the boxes")
        self.method_combo.setToolTip("What makes masks of accepted boxes")
        self.run_button, self.cancel_button = QPushButton("Find organs"), QPushButton("Cancel")
        self.progress_bar = QProgressBar()
        self.accept_button = _button("Accept", f"Take the box, make its mask ({KEYS['accept']})")
        self.accept_sure_button = _button(
            "Accept all sure", "Accept every open box that is not marked with a low confidence"
        )
        self.reject_button = _button("Reject", f"The box is wrong ({KEYS['reject']})")
        self.template_button = _button(
            "Make template", "Let this organ, as corrected, be a template for the next scans"
        )
        self.first_button = _button("Begins here", "The box begins at the slice in view")
        self.last_button = _button("Ends here", "The box ends at the slice in view")
        self.cohort_button = QPushButton("Folder of scans …")
        self.next_button = _button("Next scan", f"Save masks, open the next ({KEYS['next scan']})")
        self.cohort_label, self.counts_label = wrapped_label(), wrapped_label()
        self._soon = timer(self, self._choose_first, once=True)
        self._report = (0, 0, "")
        self._repaint = timer(self, self._show_report, PROGRESS_MS, once=False)

    def _lay_out(self) -> None:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("scan", self.image_combo)
        form.addRow("localizer", self.localizer_combo)
        form.addRow("masks by", self.method_combo)
        column.addLayout(form)
        column.addLayout(_row(self.library_button, self.cohort_button))
        lists = QHBoxLayout()
        lists.addWidget(self.template_list, 2)
        lists.addWidget(self.organ_table, 3)
        column.addLayout(lists, 1)
        column.addLayout(_row(self.run_button, self.cancel_button))
        column.addWidget(self.progress_bar)
        column.addLayout(_row(self.accept_button, self.accept_sure_button, self.reject_button))
        column.addLayout(_row(self.first_button, self.last_button, self.template_button))
        line = QFrame()
        line.setFrameShape(QFrame.Shape.HLine)
        column.addWidget(line)
        column.addWidget(self.cohort_label)
        column.addWidget(self.counts_label)
        column.addWidget(self.next_button)
        column.addWidget(self.status_label)
        keys = "   ".join(f"{key}: {what}" for what, key in KEYS.items())
        column.addWidget(QLabel(f"<small>{keys}</small>"))
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(inner)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)
        self.setMinimumWidth(430)

    # --------------------------------------------------------------- hearing
    def _connect(self) -> None:
        controller = self.controller
        self.library_button.clicked.connect(self._ask_library)
        self.cohort_button.clicked.connect(self._ask_cohort)
        self.image_combo.chosen.connect(lambda layer: controller.choose(layer))
        self.viewer.layers.events.inserted.connect(self._choose_soon)
        self.localizer_combo.activated.connect(self._on_choice)
        self.method_combo.activated.connect(self._on_choice)
        self.run_button.clicked.connect(lambda: controller.run())
        self.cancel_button.clicked.connect(lambda: controller.cancel())
        self.accept_button.clicked.connect(self.accept)
        self.accept_sure_button.clicked.connect(lambda: controller.accept_sure())
        self.reject_button.clicked.connect(self.reject)
        self.template_button.clicked.connect(self._make_template)
        self.first_button.clicked.connect(lambda: self._set_end(last=False))
        self.last_button.clicked.connect(lambda: self._set_end(last=True))
        self.next_button.clicked.connect(lambda: controller.next_scan())
        controller.told.connect(self.tell)
        controller.busy_changed.connect(self._show_busy)
        controller.progressed.connect(self._note_report)
        controller.scan_changed.connect(self._show_scan)
        controller.organs_changed.connect(self._show_counts)
        controller.organs_changed.connect(self._show_enabled)
        self.organ_table.currentCellChanged.connect(lambda *_: self._show_enabled())
        self._show_busy(False)
        self._show_scan()
        self._show_counts()

    def _choose_soon(self, event: object) -> None:
        self._soon.start()

    def _choose_first(self) -> None:
        """Take the newest image as the scan, as long as there is none."""
        if self.controller.image is None and not self.controller.scan_name:
            layer = self.image_combo.newest()
            if isinstance(layer, Image):
                self.controller.choose(layer)

    def _on_choice(self) -> None:
        self.controller.localizer = LocalizerChoice(self.localizer_combo.currentData())
        self.controller.method = self.method_combo.currentData()

    def _ask_library(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Template library")
        if folder:
            self.controller.open_library(Path(folder))

    def _ask_cohort(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of scans")
        if folder:
            self.controller.open_cohort(Path(folder))

    # ---------------------------------------------------------------- acting
    def accept(self) -> None:
        """Accept the organ chosen, and go to the next open one."""
        self._with_organ(self.controller.accept)
        self.next_organ()

    def reject(self) -> None:
        """Reject the organ chosen, and go to the next open one."""
        self._with_organ(self.controller.reject)
        self.next_organ()

    def next_organ(self) -> None:
        """Go to the next organ that nobody has decided on."""
        self.organ_table.choose_next_open()

    def _make_template(self) -> None:
        self._with_organ(self.controller.make_template)

    def _set_end(self, last: bool) -> None:
        self._with_organ(lambda organ: self.controller.set_end(organ, last))

    def _with_organ(self, action: Callable[[str], None]) -> None:
        organ = self.organ_table.organ()
        if organ:
            action(organ)

    def _bind_keys(self) -> Callable[[], None]:
        actions = {
            "accept": self.accept,
            "reject": self.reject,
            "next organ": self.next_organ,
            "next scan": self.controller.next_scan,
        }
        viewer = self.viewer
        for name, action in actions.items():
            viewer.bind_key(KEYS[name], _ignoring_viewer(action), overwrite=True)
        inserted, choose = viewer.layers.events.inserted, self._choose_soon

        def unbind() -> None:
            inserted.disconnect(choose)
            for key in KEYS.values():
                viewer.bind_key(key, None, overwrite=True)

        return unbind

    # --------------------------------------------------------------- showing
    def _show_scan(self) -> None:
        controller = self.controller
        self.image_combo.show_layer(controller.image)
        cohort = controller.cohort
        if cohort is None:
            self.cohort_label.setText("No folder of scans is open.")
        else:
            done = f"{cohort.done} of {len(cohort.scans)} scans done"
            name = f"<b>{controller.scan_name}</b>  ({done})" if controller.scan_name else done
            self.cohort_label.setText(f"{name}<br>results: {cohort.results}")
        self._show_enabled()

    def _show_counts(self) -> None:
        counts = self.controller.counts
        self.counts_label.setText("   ".join(f"{n} {what}" for what, n in counts.items()))

    def _show_enabled(self) -> None:
        organ = self.controller.organs.get(self.organ_table.organ() or "")
        usable = organ is not None and organ.located is not None
        for button in (
            self.accept_button,
            self.reject_button,
            self.template_button,
            self.first_button,
            self.last_button,
        ):
            button.setEnabled(usable)
        self.accept_sure_button.setEnabled(bool(self.controller.organs))
        self.next_button.setEnabled(self.controller.cohort is not None)

    def _show_busy(self, busy: bool) -> None:
        self.cancel_button.setEnabled(busy)
        self.run_button.setEnabled(not busy)
        self._report = (0, 0, "running …") if busy else (0, 1, "ready")
        if busy:
            self._repaint.start()
        else:
            self._repaint.stop()
        self._show_report()

    def _note_report(self, done: int, total: int, text: str) -> None:
        self._report = (done, total, text or "%p %")

    def _show_report(self) -> None:
        done, total, text = self._report
        self.progress_bar.setFormat(text)
        self.progress_bar.setRange(0, total)
        self.progress_bar.setValue(done)


def _button(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tip)
    return button


def _row(*buttons: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(4)
    for button in buttons:
        row.addWidget(button)
    return row


def _ignoring_viewer(action: Callable[[], object]) -> Callable[[object], None]:
    def pressed(viewer: object) -> None:
        action()

    return pressed
