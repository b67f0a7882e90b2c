"""What Slicer gives a scripted module: its base classes, translation, and the way it is loaded."""

from __future__ import annotations

import importlib.util
import sys
import types
import unittest
from pathlib import Path

import adapter_qt
import slicer

qt = adapter_qt.qt_module()


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent):
        self.parent = parent
        self.layout = parent.layout()

    def setup(self):
        pass


class ScriptedLoadableModuleLogic:
    """Keeps its parameters on the scene's one node of the module."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self):
        scene = slicer.mrmlScene
        node = scene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(self.moduleName)
            node.SetAttribute("ModuleName", self.moduleName)
            node.SetName(self.moduleName)
            node = scene.AddNode(node)
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    def __init__(self, method="runTest"):
        super().__init__(method)
        self.said = []

    def delayDisplay(self, message):
        self.said.append(message)

    def runTest(self):
        pass


def install():
    """Put the modules that scripted modules import in their places."""
    base = types.ModuleType("slicer.ScriptedLoadableModule")
    for one in (
        ScriptedLoadableModule,
        ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest,
    ):
        setattr(base, one.__name__, one)
    translation = types.ModuleType("slicer.i18n")
    translation.tr = lambda text: text
    translation.translate = lambda context, text: text
    sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = base
    sys.modules["slicer.i18n"] = slicer.i18n = translation


def load(path):
    """Load a module's own file as Slicer does: by path, under the file's name."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def open_widget(module):
    """Return a module's widget, set up and entered as when the user selects the module."""
    frame = qt.QWidget()
    frame.setLayout(qt.QVBoxLayout())
    name = module.__name__
    getattr(module, name)(types.SimpleNamespace(path=module.__file__))
    widget = getattr(module, f"{name}Widget")(frame)
    widget.setup()
    widget.enter()
    return widget
