"""OpenMEDLab's medical foundation models behind one engine; imports no torch by itself."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-openmedlab")
except PackageNotFoundError:
    __version__ = "0+unknown"
