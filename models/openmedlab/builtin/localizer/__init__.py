"""Organs found by templates, without weights: `BuiltinLocalizer`."""

from openmedlab.builtin.localizer.localizer import BuiltinLocalizer

__all__ = ["BuiltinLocalizer"]
