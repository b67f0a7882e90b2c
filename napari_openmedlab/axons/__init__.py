"""Axons in napari: a try on the visible part, then the whole volume in the background."""
