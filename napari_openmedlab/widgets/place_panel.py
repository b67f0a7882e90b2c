"""Local or remote: which computer makes the masks."""

from __future__ import annotations

from qtpy.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_openmedlab.controller import SegmentController
from napari_openmedlab.places import HERE
from napari_openmedlab.widgets.small import fill_width

LOCAL, REMOTE = range(2)
ADDRESS = "127.0.0.1:1527"


class PlacePanel(QWidget):
    """A switch between this computer and a server, with the server's address and token."""

    def __init__(self, controller: SegmentController) -> None:
        super().__init__()
        self.controller = controller
        self.switch = QComboBox()
        self.switch.addItems(["Local: this computer", "Remote: a server"])
        fill_width(self.switch)
        self.address_edit = QLineEdit(ADDRESS)
        self.address_edit.setToolTip("host:port of a computer that runs: openmedlab serve")
        self.token_edit = QLineEdit()
        self.token_edit.setPlaceholderText("token, where the server wants one")
        self.token_edit.setEchoMode(QLineEdit.EchoMode.Password)
        self.connect_button = QPushButton("Connect")
        self._server = QWidget()
        self._lay_out()
        self.switch.activated.connect(self._on_switch)
        self.connect_button.clicked.connect(self._connect_server)
        controller.place_changed.connect(self._show_place)
        self._server.hide()

    def _lay_out(self) -> None:
        row = QHBoxLayout(self._server)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.address_edit, self.token_edit, self.connect_button):
            row.addWidget(widget)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.switch)
        column.addWidget(self._server)

    def _on_switch(self, row: int) -> None:
        self._server.setVisible(row == REMOTE)
        if row == LOCAL and self.controller.runner.place.is_remote:
            self.controller.use_place(HERE)

    def _connect_server(self) -> None:
        self.connect_button.setEnabled(False)
        self.controller.use_server(self.address_edit.text().strip(), self.token_edit.text() or None)

    def _show_place(self) -> None:
        place = self.controller.runner.place
        self.connect_button.setEnabled(True)
        self.connect_button.setText("Connected" if place.is_remote else "Connect")
        self.connect_button.setToolTip(f"Masks come from {place.name}")
