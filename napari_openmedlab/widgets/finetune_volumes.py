"""The labelled volumes of a folder: what was found, which labels, which volumes judge."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.finetune.controller import FinetuneController
from napari_openmedlab.widgets.small import show_sentence, wrapped_label
from openmedlab.tuning.data import Cohort

COLUMNS = ("volume", "voxel size", "labels", "part")
NAME, SIZE, LABELS, PART = range(4)
ON, OFF = Qt.CheckState.Checked, Qt.CheckState.Unchecked
ROLE = Qt.ItemDataRole.UserRole
ROW = 20
MOST_ROWS = 7


class VolumesPanel(QWidget):
    """Chooser of the folder, its volumes and its labels.

    A ticked volume judges; as long as none is, a quarter does by chance.
    """

    def __init__(self, controller: FinetuneController) -> None:
        super().__init__()
        self.controller = controller
        self.folder_edit = QLineEdit()
        self.folder_button = QPushButton("…")
        self.layers_button = QPushButton("Add the open layers to the folder …")
        self.found_label = wrapped_label()
        self.volume_tree = QTreeWidget()
        self.label_list = QListWidget()
        self._explain()
        self._lay_out()
        self._connect()
        self._show_cohort()

    def _explain(self) -> None:
        self.folder_edit.setPlaceholderText("folder of labelled volumes")
        self.folder_edit.setToolTip(
            "NAME_image.nii.gz with NAME_label.nii.gz, a folder each with image.* and labels.*, or "
            "nnU-Net's imagesTr and labelsTr"
        )
        self.layers_button.setToolTip(
            "Writes every open image that has a Labels layer on its grid, with these labels"
        )
        self.volume_tree.setHeaderLabels(COLUMNS)
        self.volume_tree.setRootIsDecorated(False)
        self.volume_tree.setStyleSheet(f"QTreeView::item {{ height: {ROW}px; }}")
        self.label_list.setStyleSheet(f"QListView::item {{ height: {ROW}px; }}")
        self.volume_tree.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.volume_tree.setToolTip("Tick volumes that judge; without a tick a quarter does")
        self.label_list.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.label_list.setToolTip("Labels to learn; the others count as background")
        header = self.volume_tree.header()
        assert header is not None
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)

    def _lay_out(self) -> None:
        row = QHBoxLayout()
        row.addWidget(QLabel("volumes"))
        row.addWidget(self.folder_edit, 1)
        row.addWidget(self.folder_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(self.layers_button)
        column.addWidget(self.found_label)
        column.addWidget(self.volume_tree)
        column.addWidget(self.label_list)

    def _connect(self) -> None:
        self.folder_edit.returnPressed.connect(self._on_folder)
        self.folder_button.clicked.connect(self._choose_folder)
        self.layers_button.clicked.connect(self._add_layers)
        self.volume_tree.itemChanged.connect(self._on_volume)
        self.label_list.itemChanged.connect(self._on_label)
        self.controller.cohort_changed.connect(self._show_cohort)
        self.controller.planned.connect(self._show_parts)

    # --------------------------------------------------------------- choices
    def _on_folder(self) -> None:
        if text := self.folder_edit.text().strip():
            self.controller.choose_folder(Path(text).expanduser())

    def _choose_folder(self) -> None:
        if folder := self._asked("Labelled volumes"):
            self.controller.choose_folder(folder)

    def _add_layers(self) -> None:
        folder = self.controller.settings.folder or self._asked("Folder for labelled volumes")
        if folder:
            self.controller.add_layers(folder)

    def _asked(self, title: str) -> Path | None:
        name = QFileDialog.getExistingDirectory(self, title, self.folder_edit.text())
        return Path(name) if name else None

    def _on_volume(self, _item: QTreeWidgetItem, _column: int) -> None:
        rows = (
            self.volume_tree.topLevelItem(k) for k in range(self.volume_tree.topLevelItemCount())
        )
        judges = {row.text(NAME) for row in rows if row and row.checkState(NAME) == ON}
        self.controller.change(judges=frozenset(judges))

    def _on_label(self, _item: QListWidgetItem) -> None:
        rows = (self.label_list.item(k) for k in range(self.label_list.count()))
        without = {row.data(ROLE) for row in rows if row and row.checkState() == OFF}
        self.controller.change(without=frozenset(without))

    # ------------------------------------------------------------------ show
    def _show_cohort(self) -> None:
        controller = self.controller
        cohort, folder = controller.cohort, controller.settings.folder
        if folder is not None and not self.folder_edit.hasFocus():
            self.folder_edit.setText(str(folder))
        text = found(cohort) if cohort is not None else controller.looking
        show_sentence(self.found_label, controller.wrong or text, bool(controller.wrong))
        for view in (self.volume_tree, self.label_list):
            view.setVisible(cohort is not None)
        if cohort is not None:
            self._fill(cohort)

    def _fill(self, cohort: Cohort) -> None:
        for view in (self.volume_tree, self.label_list):
            view.blockSignals(True)
            view.clear()
        for pair in cohort.pairs:
            size = " x ".join(f"{s:.3g}" for s in pair.spacing)
            names = ", ".join(cohort.labels[n] for n in pair.numbers)
            row = QTreeWidgetItem([pair.name, size, names, ""])
            row.setCheckState(NAME, ON if pair.name in self.controller.settings.judges else OFF)
            self.volume_tree.addTopLevelItem(row)
        for number, name in cohort.labels.items():
            within = sum(number in pair.numbers for pair in cohort.pairs)
            item = QListWidgetItem(f"{number}  {name}, in {within} of {len(cohort.pairs)} volumes")
            item.setData(ROLE, number)
            item.setCheckState(OFF if number in self.controller.settings.without else ON)
            self.label_list.addItem(item)
        self.volume_tree.setFixedHeight(ROW * (min(len(cohort.pairs), MOST_ROWS) + 1) + 12)
        self.label_list.setFixedHeight(ROW * min(len(cohort.labels), MOST_ROWS) + 8)
        for view in (self.volume_tree, self.label_list):
            view.blockSignals(False)
        self._show_parts()

    def _show_parts(self) -> None:
        """Tell of every volume whether it is learned from or judges, once that is planned."""
        ready = self.controller.ready
        judging = ready.plan.split.validation if ready is not None else ()
        self.volume_tree.blockSignals(True)
        for k in range(self.volume_tree.topLevelItemCount()):
            row = self.volume_tree.topLevelItem(k)
            if row is not None:
                part = "judges" if row.text(NAME) in judging else "learned from"
                row.setText(PART, part if ready is not None else "")
        self.volume_tree.blockSignals(False)


def found(cohort: Cohort) -> str:
    """Say what a folder holds: ``"4 volumes of 2 x 1.6 x 1.6, 2 labels"``."""
    sizes = {tuple(round(s, 3) for s in pair.spacing) for pair in cohort.pairs}
    size = " x ".join(f"{s:.3g}" for s in next(iter(sizes)))
    voxels = f"voxels of {size}" if len(sizes) == 1 else f"{len(sizes)} voxel sizes"
    labels = len(cohort.labels)
    return f"{len(cohort.pairs)} volumes, {voxels}, {labels} label{'s' * (labels > 1)}"
