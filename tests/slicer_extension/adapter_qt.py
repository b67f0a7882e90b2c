"""`qt` for tests: PyQt6 held to PythonQt's rules, which Slicer's scripts live by.

A Qt property is an attribute (``label.text``, not ``label.text()``), signals connect by
their C++ signature, enum members are reached without their enum, and a plain Qt object
takes no attribute it does not have. All of PyQt6 in the process is changed, once.
"""

from __future__ import annotations

import enum
import inspect
import sys
import types

from PyQt6 import QtCore, QtGui, QtWidgets

CALLED_BY_QT = {"sizeHint", "minimumSizeHint", "spacing"}


def qt_module():
    """Return the `qt` module, put in place on first use."""
    if "qt" in sys.modules:
        return sys.modules["qt"]
    module = types.ModuleType("qt")
    for part in (QtCore, QtGui, QtWidgets):
        for name, value in vars(part).items():
            if name.startswith("Q") and inspect.isclass(value):
                setattr(module, name, value)
                _members_of_enums(value)
                _properties(value)
    QtCore.QObject.connect = _connect
    QtCore.QObject.disconnect = _disconnect
    QtCore.QObject.className = lambda self: self.metaObject().className()
    QtCore.QObject.__setattr__ = _only_known(QtCore.QObject.__setattr__)
    module.QApplication = QtWidgets.QApplication
    sys.modules["qt"] = module
    return module


def _members_of_enums(owner):
    enums = [v for v in vars(owner).values() if isinstance(v, type) and issubclass(v, enum.Enum)]
    for one in enums:
        for name, member in one.__members__.items():
            if not hasattr(owner, name):
                setattr(owner, name, member)


def _properties(owner):
    meta = getattr(owner, "staticMetaObject", None)
    if meta is None:
        return
    for k in range(meta.propertyOffset(), meta.propertyCount()):
        name = meta.property(k).name()
        if name not in CALLED_BY_QT:
            setattr(owner, name, _as_attribute(name))


def _as_attribute(name):
    def read(self):
        return self.property(name)

    def write(self, value):
        self.setProperty(name, value)

    return property(read, write)


def _connect(self, signature, slot):
    name, _, arguments = signature.partition("(")
    if not hasattr(type(self), name):
        raise ValueError(f"{type(self).__name__} has no signal {signature}")
    count = len([a for a in arguments.rstrip(")").split(",") if a.strip()])
    takes = _most_arguments(slot)
    pass_on = count if takes is None else min(count, takes)
    relay = lambda *values: slot(*values[:pass_on])  # noqa: E731
    getattr(self, name).connect(relay)
    self.__dict__.setdefault("_relays", []).append((name, slot, relay))
    return True


def _most_arguments(slot):
    """Return how many arguments a slot takes; None for any number."""
    try:
        parameters = inspect.signature(slot).parameters.values()
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return None
    return sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)


def _disconnect(self, signature, slot):
    name = signature.partition("(")[0]
    for entry in list(self.__dict__.get("_relays", [])):
        if entry[:2] == (name, slot):
            getattr(self, name).disconnect(entry[2])
            self._relays.remove(entry)
            return True
    return False


def _only_known(base):
    def write(self, name, value):
        plain = type(self).__module__.startswith("PyQt6")
        if plain and not name.startswith("_") and not hasattr(type(self), name):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        base(self, name, value)

    return write
