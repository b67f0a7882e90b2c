"""The *Whole body* dock widget: a scan in, all its structures out, each to be put right."""

from __future__ import annotations

from pathlib import Path

import napari
from napari.layers import Labels
from qtpy.QtWidgets import (
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
)

from napari_openmedlab.whole_body.controller import WholeBodyController
from napari_openmedlab.whole_body.result import Result
from napari_openmedlab.widgets.dock import Dock
from napari_openmedlab.widgets.layer_combo import LayerCombo
from napari_openmedlab.widgets.small import wrapped_label
from napari_openmedlab.widgets.whole_body_run import LabelPanel, ProgressPanel
from napari_openmedlab.widgets.whole_body_table import MeasuresTable, WarningList
from napari_openmedlab.widgets.whole_body_tree import Entry, StructureTree, swatch
from openmedlab.core import Label
from openmedlab.io import label_suffixes

NEW_LABELS = "new labels"
STRUCTURES, MEASURES, WARNINGS = range(3)


class WholeBodyWidget(Dock):
    """Image and model, the tree of structures, what they measure, and the way to *Segment*.

    Parameters
    ----------
    viewer
        The viewer whose images are labelled.

    Attributes
    ----------
    controller
        Does the work; scripts may call it directly.
    image_combo, model_combo, fast_check, weights_button, labels_combo
        The choosers.
    search_edit, structures
        The tree: `StructureTree`.
    measures_table, warning_list, tabs
        What was found.
    run_button, cancel_button, progress_bar
        The run.
    go_button, refine_button, export_button, save_button
        What can be done with a structure, and with all of them.
    made_label, changes_label, status_label
        What made the labels, what was changed since, and what happens now.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.controller = WholeBodyController(viewer)
        self.controller.told.connect(self.tell)
        self._label = LabelPanel(self.controller)
        self._progress = ProgressPanel(self.controller)
        self.structures = StructureTree()
        self.measures_table = MeasuresTable()
        self.warning_list = WarningList()
        self.tabs = QTabWidget()
        self.labels_combo = LayerCombo(viewer, Labels, NEW_LABELS)
        self.labels_combo.setToolTip("Labels to look at: those of the last run, or of a file")
        self.go_button = QPushButton("Go to")
        self.refine_button = QPushButton("Refine in Segment")
        self.export_button = QPushButton("Export table …")
        self.save_button = QPushButton("Save labels …")
        self.made_label, self.changes_label = wrapped_label(), wrapped_label()
        self._number = 0
        self._name_parts()
        self._lay_out()
        self._connect()
        self.end_with(
            self.controller.close, self.labels_combo.close_events, self._label.close_events
        )
        self._show_result()

    def _name_parts(self) -> None:
        self.image_combo = self._label.image_combo
        self.model_combo = self._label.model_combo
        self.model_detail = self._label.detail
        self.fast_check = self._label.fast_check
        self.weights_button = self._label.weights_button
        self.run_button = self._progress.run_button
        self.cancel_button = self._progress.cancel_button
        self.progress_bar = self._progress.progress_bar
        self.search_edit = self.structures.search_edit

    def _lay_out(self) -> None:
        for widget, title in (
            (self.structures, "Structures"),
            (self.measures_table, "Measures"),
            (self.warning_list, "Warnings"),
        ):
            self.tabs.addTab(widget, title)
        labels = QFormLayout()
        labels.addRow("labels", self.labels_combo)
        labels.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addWidget(self._label)
        column.addWidget(self._progress)
        column.addLayout(labels)
        column.addWidget(self.made_label)
        column.addWidget(self.tabs, 1)
        column.addLayout(_row(self.go_button, self.refine_button))
        column.addWidget(self.changes_label)
        column.addLayout(_row(self.export_button, self.save_button))
        column.addWidget(self.status_label)
        self.setMinimumWidth(380)

    def _connect(self) -> None:
        controller = self.controller
        self.run_button.clicked.connect(self._run)
        self.labels_combo.chosen.connect(controller.open_labels)
        self.structures.ticked.connect(self._show_run)
        self.structures.show_wanted.connect(controller.show)
        for view in (self.structures, self.measures_table):
            view.chosen.connect(self._choose)
            view.place_wanted.connect(controller.go_to)
        self.warning_list.chosen.connect(lambda name: self._choose(self._number_of(name)))
        self.warning_list.place_wanted.connect(lambda n: controller.go_to(self._number_of(n)))
        self.go_button.clicked.connect(lambda: controller.go_to(self._number))
        self.refine_button.clicked.connect(lambda: controller.refine(self._number))
        self.export_button.clicked.connect(self._export)
        self.save_button.clicked.connect(self._save)
        controller.methods_changed.connect(self._show_structures)
        controller.result_changed.connect(self._show_result)
        controller.measured.connect(self._show_measures)
        controller.shown_changed.connect(self._show_structures)
        controller.busy_changed.connect(lambda _: self._show_choice())

    # ------------------------------------------------------------------- run
    def _run(self) -> None:
        wanted = self.structures.wanted
        self.controller.start(None if len(wanted) == self.structures.offered else wanted)

    def _show_run(self) -> None:
        wanted, offered = len(self.structures.wanted), self.structures.offered
        part = "all" if wanted == offered else f"{wanted} of"
        self.run_button.setText(f"Run: label {part} {offered} structures")

    # ---------------------------------------------------------------- result
    def _show_result(self) -> None:
        result = self.controller.result
        self.labels_combo.show_layer(result.layer if result is not None else None)
        self._number = 0
        self._show_measures()

    def _show_measures(self) -> None:
        result = self.controller.result
        measures = result.measures if result is not None else None
        rows = measures.statistics if measures is not None else ()
        warnings = measures.warnings if measures is not None else ()
        icons = {r.number: swatch(result.color(r.number)) for r in rows} if result else {}
        self.measures_table.fill(rows, result.counts if result is not None else {}, icons)
        self.warning_list.fill(warnings, measures is not None)
        self.tabs.setTabText(WARNINGS, f"Warnings ({len(warnings)})" if warnings else "Warnings")
        made = _made(result) if result is not None else ""
        changes = result.changes() if result is not None else ""
        for label, text in ((self.made_label, made), (self.changes_label, changes)):
            label.setText(text)
            label.setVisible(bool(text))
        self._show_structures()
        self._show_choice()

    def _show_structures(self) -> None:
        self.structures.fill(_entries(self.controller))
        self._show_run()

    # ---------------------------------------------------------------- choice
    def _number_of(self, name: str) -> int:
        result = self.controller.result
        found = result.measures.statistics if result is not None and result.measures else ()
        return next((row.number for row in found if row.name == name), 0)

    def _choose(self, number: int) -> None:
        self._number = number
        self.structures.select(number)
        self.measures_table.select(number)
        self._show_choice()

    def _show_choice(self) -> None:
        result, busy = self.controller.result, self.controller.busy
        for button in (self.go_button, self.refine_button):
            button.setEnabled(bool(self._number) and not busy)
        self.save_button.setEnabled(result is not None and not busy)
        self.export_button.setEnabled(result is not None and result.measures is not None)

    # ---------------------------------------------------------------- saving
    def _export(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Export table", "structures.csv", "CSV (*.csv)")
        if name:
            self.controller.export(Path(name))

    def _save(self) -> None:
        kinds = " ".join(f"*{suffix}" for suffix in label_suffixes())
        image = self.controller.image
        stem = image.name if image is not None else "scan"
        name, _ = QFileDialog.getSaveFileName(
            self, "Save labels", f"{stem}_labels.nii.gz", f"Labels ({kinds})"
        )
        if name:
            self.controller.save(Path(name))


def _row(*buttons: QPushButton) -> QHBoxLayout:
    row = QHBoxLayout()
    for button in buttons:
        row.addWidget(button)
    return row


def _made(result: Result) -> str:
    """Say how many structures there are and who made them."""
    by = result.made or (f"<b>{result.method}</b>" if result.method else "a method not named")
    if result.measures is None:
        return f"Measuring labels by {by} …"
    refined = result.refined()
    more = f"; refined by {refined}" if refined else ""
    return f"{len(result.measures.statistics)} structures by {by}{more}"


def _entries(controller: WholeBodyController) -> list[Entry]:
    """Join what the model offers with what the result holds, by name."""
    offered = {label.name: label for label in controller.offered.labels}
    result = controller.result
    if result is None:
        return [Entry(label, offered=True) for label in offered.values()]
    rows = {row.name: row for row in result.measures.statistics} if result.measures else {}
    doubts: dict[str, str] = {}
    for warning in result.measures.warnings if result.measures else ():
        doubts[warning.name] = f"{doubts.get(warning.name, '')}{warning.text}\n"
    entries = []
    for name in {**offered, **rows}:
        row = rows.get(name)
        if row is None:
            entries.append(Entry(offered[name], offered=True, doubt=doubts.get(name, "")))
            continue
        label = Label(name, result.color(row.number), row.code)
        shown, ml = result.shown(row.number), f"{row.ml:,.1f}"
        doubt = doubts.get(name, "").strip()
        entries.append(Entry(label, name in offered, row.number, shown, ml, doubt))
    return entries
