"""`ctk` and qMRML widgets for tests: the names that the module uses, over the real scene."""

from __future__ import annotations

import sys
import types

import adapter_qt

qt = adapter_qt.qt_module()

import slicer  # noqa: E402
from PyQt6 import sip  # noqa: E402
from PyQt6.QtCore import pyqtProperty, pyqtSignal  # noqa: E402


class ctkCollapsibleButton(qt.QGroupBox):
    """A box with a title that folds."""

    contentsCollapsed = pyqtSignal(bool)

    def __init__(self):
        super().__init__()
        self._collapsed = False

    def _set_collapsed(self, value):
        self._collapsed = value
        self.contentsCollapsed.emit(value)

    text = pyqtProperty(str, lambda self: self.title, lambda self, value: self.setTitle(value))
    collapsed = pyqtProperty(bool, lambda self: self._collapsed, _set_collapsed)


class qMRMLNodeComboBox(qt.QComboBox):
    """Lists the scene's nodes of some classes; it never chooses one by itself."""

    currentNodeChanged = pyqtSignal(object)
    SETTABLE = ("nodeTypes", "noneEnabled", "noneDisplay", "addEnabled")

    def __init__(self):
        super().__init__()
        self.nodeTypes, self.noneEnabled, self.noneDisplay = [], False, "None"
        self.addEnabled = True
        self._observed, self._told = [], None
        self.connect("currentIndexChanged(int)", self._tell)

    def setMRMLScene(self, scene):
        events = (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent)
        self._observed = [scene.AddObserver(e, self._refill) for e in events]
        self._scene = scene
        self._refill()

    def currentNode(self):
        return self._scene.GetNodeByID(self.itemData(self.currentIndex) or "")

    def setCurrentNode(self, node):
        self.setCurrentIndex(self.findData(node.GetID() if node is not None else ""))

    def _refill(self, caller=None, event=None):
        if sip.isdeleted(self):
            for tag in self._observed:
                self._scene.RemoveObserver(tag)
            return
        kept = self._told
        self.blockSignals(True)
        self.clear()
        if self.noneEnabled:
            self.addItem(self.noneDisplay, "")
        for kind in self.nodeTypes:
            for node in slicer.util.getNodesByClass(kind):
                self.addItem(node.GetName(), node.GetID())
        self.setCurrentIndex(max(self.findData(kept), 0 if self.noneEnabled else -1))
        self.blockSignals(False)
        self._tell()

    def _tell(self, index=0):
        now = self.itemData(self.currentIndex) or ""
        if now != self._told:
            self._told = now
            self.currentNodeChanged.emit(self.currentNode())


def install():
    """Put `ctk` and the qMRML classes where the module looks for them."""
    ctk = types.ModuleType("ctk")
    ctk.ctkCollapsibleButton = ctkCollapsibleButton
    sys.modules["ctk"] = ctk
    slicer.qMRMLNodeComboBox = qMRMLNodeComboBox
