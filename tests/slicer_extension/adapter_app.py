"""Slicer's application around the `slicer-core` wheel, for tests: scene, module logics, files.

Everything that touches data is the wheel's own C++; only what needs Qt in Slicer
is stood in for.
"""

from __future__ import annotations

import os
import types
from pathlib import Path

import slicer
from PyQt6.QtCore import QProcessEnvironment

LOGICS = {
    "Colors": "vtkMRMLColorLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Terminologies": "vtkSlicerTerminologiesModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Transforms": "vtkSlicerTransformLogic",
}

STARTED: list = []  # what is to be called once the application is up


class Files:
    """`slicer.app.coreIOManager()`: reads and writes through the nodes' own storage."""

    def __init__(self, scene):
        self.scene = scene

    def fileType(self, name):
        name = str(name).lower()
        if ".seg." in name:
            return "SegmentationFile"
        return "MarkupsFile" if name.endswith(".mrk.json") else "VolumeFile"

    def loadNodes(self, kind, properties, loaded=None, messages=None):
        name = str(properties["fileName"])
        title = properties.get("name") or Path(name).name.split(".")[0]
        logics = slicer.modules
        if kind == "SegmentationFile":
            node = logics.segmentations.logic().LoadSegmentationFromFile(name, False, title)
        elif kind == "MarkupsFile":
            node = self.scene.GetNodeByID(logics.markups.logic().LoadMarkups(name, title) or "")
        else:
            node = logics.volumes.logic().AddArchetypeVolume(name, title, 0)
        if node is not None and loaded is not None:
            loaded.AddItem(node)
        return node is not None

    def fileWriterFileType(self, node):
        return node.GetClassName()

    def saveNodes(self, kind, properties, messages=None):
        node = self.scene.GetNodeByID(properties["nodeID"])
        if node.GetStorageNode() is None:
            name = node.GetDefaultStorageNodeClassName(properties["fileName"])
            node.SetAndObserveStorageNodeID(self.scene.AddNewNodeByClass(name).GetID())
        node.GetStorageNode().SetFileName(str(properties["fileName"]))
        return bool(node.GetStorageNode().WriteData(node))


def new_scene():
    """Return an empty scene with the nodes Slicer itself puts there, and its application logic."""
    scene = slicer.vtkMRMLScene()
    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    application.GetColorLogic().SetMRMLScene(scene)
    application.GetColorLogic().AddDefaultColorNodes()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    return scene, application


def use_scene(scene, application):
    """Make ``scene`` the one that `slicer.mrmlScene`, `slicer.util` and module code work on."""
    logics = {}
    for name, class_name in LOGICS.items():
        logic = getattr(slicer, class_name)()
        if name == "Terminologies":
            logic.SetModuleShareDirectory(_terminologies())
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        logics[name.lower()] = logic
    slicer.mrmlScene = scene
    slicer.modules = types.SimpleNamespace(
        **{n: types.SimpleNamespace(logic=lambda one=one: one) for n, one in logics.items()}
    )
    files = Files(scene)
    STARTED.clear()
    slicer.app = types.SimpleNamespace(
        connect=lambda signal, slot: STARTED.append(slot),
        startupEnvironment=QProcessEnvironment.systemEnvironment,
        coreIOManager=lambda: files,
        applicationLogic=lambda: application,
        mrmlScene=lambda: scene,
        temporaryPath=os.environ.get("TMPDIR", "/tmp"),
        processEvents=lambda *_: None,
    )


def _terminologies():
    """Return a folder of DICOM's code lists, where trame-slicer brings one."""
    try:
        from trame_slicer.resources import resources_path
    except ImportError:
        return ""
    return str(Path(resources_path()) / "terminologies")
