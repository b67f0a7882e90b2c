"""What can be done with a model's weights: accept, download, import, verify, remove."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from html import escape
from pathlib import Path

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import (
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.widgets.models_jobs import IMPORT, Job, jobs
from napari_openmedlab.widgets.models_text import download_words, link, state_words
from napari_openmedlab.widgets.volume_panel import Bar
from openmedlab.zoo import ModelInfo, WeightsStore
from openmedlab.zoo.files import human

STEPS = 1000


class ActionsPanel(QWidget):
    """Licence, buttons, questions and the work under way, for the model chosen.

    Parameters
    ----------
    licence_accepted
        Called after the user accepted a licence.
    """

    def __init__(self, licence_accepted: Callable[[], None]) -> None:
        super().__init__()
        self.info: ModelInfo | None = None
        self._licence_accepted = licence_accepted
        self._on_yes: Callable[[], None] = lambda: None
        self.accept_button = QPushButton("Accept licence")
        self.licence_bar = Bar(self.accept_button)
        self.licence_bar.text.setOpenExternalLinks(True)
        self.download_button = QPushButton("Download")
        self.page_button = QPushButton("Open the download page")
        self.import_button = QPushButton("Import file …")
        self.verify_button = QPushButton("Verify")
        self.remove_button = QPushButton("Remove")
        self.yes_button = QPushButton()
        self.no_button = QPushButton("No")
        self.question_bar = Bar(self.yes_button, self.no_button)
        self.work = WorkPanel()
        self._explain()
        self._lay_out()
        self._connect()

    def _explain(self) -> None:
        for button, tip in {
            self.page_button: "The publisher gives the file to browsers only; import it then",
            self.import_button: "Store a checkpoint of this disk; its tensors tell the model",
            self.verify_button: "Check that the weights are unchanged and fit their network",
            self.remove_button: "Delete the weights and what is left of unfinished downloads",
        }.items():
            button.setToolTip(tip)

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self.download_button, 0, 0)
        buttons.addWidget(self.page_button, 0, 0)
        buttons.addWidget(self.import_button, 0, 1)
        buttons.addWidget(self.verify_button, 1, 0)
        buttons.addWidget(self.remove_button, 1, 1)
        column.addWidget(self.licence_bar)
        column.addLayout(buttons)
        column.addWidget(self.question_bar)
        column.addWidget(self.work)

    def _connect(self) -> None:
        self.accept_button.clicked.connect(self._accept)
        self.download_button.clicked.connect(lambda: jobs.download(self.name))
        self.page_button.clicked.connect(self._open_page)
        self.import_button.clicked.connect(self._choose_file)
        self.verify_button.clicked.connect(lambda: jobs.verify(self.name))
        self.remove_button.clicked.connect(self._ask_to_remove)
        self.yes_button.clicked.connect(self._yes)
        self.no_button.clicked.connect(self.question_bar.hide)

    @property
    def name(self) -> str:
        """Name of the model shown; empty for none."""
        return self.info.card.name if self.info is not None else ""

    def show_model(self, info: ModelInfo | None) -> None:
        """Offer what can be done with a model now."""
        if info is None or info.card.name != self.name:
            self.question_bar.hide()
        self.info = info
        self.setEnabled(info is not None)
        if info is not None:
            self._show_licence(info)
            self._show_buttons(info)
        self.work.show_work(self.name)

    def _show_licence(self, info: ModelInfo) -> None:
        card = info.card
        wanted = info.path is None and card.fetchable and not info.licence_accepted
        self.licence_bar.setVisible(wanted)
        self.licence_bar.text.setText(
            f"These weights come under <b>{escape(card.licence)}</b>: "
            f"{link(card.licence_url, card.licence_url)}. Read it, then accept it once."
        )

    def _show_buttons(self, info: ModelInfo) -> None:
        kept = WeightsStore().unfinished(self.name)
        here = info.path is not None
        torch = state_words(info)[0] != "needs torch"
        free = jobs.get(self.name) is None
        by_hand = not here and not info.card.fetchable
        self.page_button.setVisible(by_hand)
        self.download_button.setVisible(not by_hand)
        self.download_button.setText(download_words(info, kept))
        self.download_button.setEnabled(torch and free and not here and info.licence_accepted)
        self.download_button.setToolTip("" if info.licence_accepted else "Accept the licence first")
        self.import_button.setEnabled(torch and jobs.get(IMPORT) is None)
        self.verify_button.setEnabled(torch and free and here)
        self.remove_button.setEnabled(free and (here or kept > 0))

    # --------------------------------------------------------------- actions
    def _accept(self) -> None:
        WeightsStore().accept_licence(self.name)
        self._licence_accepted()

    def _open_page(self) -> None:
        if self.info is not None:
            for file in self.info.card.files:
                QDesktopServices.openUrl(QUrl(file.page))

    def _choose_file(self) -> None:
        kinds = "Checkpoints (*.pth *.pt *.ckpt *.model *.bin *.safetensors);;All files (*)"
        file, _ = QFileDialog.getOpenFileName(self, "Import a checkpoint", "", kinds)
        if file:
            jobs.import_file(Path(file))

    def ask_which(self, file: Path, fits: tuple[str, ...]) -> None:
        """Ask whether a file that fits several models is the one shown."""
        told = f"{file.name} fits several models that share one network: {', '.join(fits)}."
        if self.info is None or self.name not in fits:
            jobs.told.emit(f"{told} Choose one of them in the list and import it again.", True)
            return
        title = self.info.card.title
        self._ask(
            f"{told} Is it {title}?", f"It is {title}", partial(jobs.import_file, file, self.name)
        )

    def _ask_to_remove(self) -> None:
        if self.info is not None:
            size = human(self.info.size + WeightsStore().unfinished(self.name))
            text = f"Delete {size} of {self.info.card.title} from this disk?"
            self._ask(text, "Delete", partial(jobs.remove, self.name))

    def _ask(self, text: str, yes: str, on_yes: Callable[[], None]) -> None:
        self.question_bar.text.setText(text)
        self.yes_button.setText(yes)
        self._on_yes = on_yes
        self.question_bar.show()

    def _yes(self) -> None:
        self.question_bar.hide()
        self._on_yes()


class WorkPanel(QWidget):
    """The job of one model, or else an import: how far it is, and a way to stop it."""

    def __init__(self) -> None:
        super().__init__()
        self._key = ""
        self.label = QLabel()
        self.label.setWordWrap(True)
        self.progress_bar = QProgressBar()
        self.progress_bar.setMaximum(STEPS)
        self.progress_bar.setFormat("%p %")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop; the next download goes on with what came")
        row = QHBoxLayout()
        row.addWidget(self.progress_bar, 1)
        row.addWidget(self.cancel_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.label)
        column.addLayout(row)
        self.cancel_button.clicked.connect(lambda: jobs.cancel(self._key))

    def show_work(self, name: str) -> None:
        """Show the job of model ``name``, or else the import."""
        self._key = name if jobs.get(name) is not None else IMPORT
        job = jobs.get(self._key)
        self.setVisible(job is not None)
        if job is not None:
            self._show(job)

    def _show(self, job: Job) -> None:
        self.label.setText(str(job))
        self.progress_bar.setValue(round(STEPS * job.fraction))
        self.cancel_button.setEnabled(job.stoppable and not job.cancel.cancelled)
