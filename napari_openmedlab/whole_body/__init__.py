"""Labelling whole scans in napari: runs, results and their refinement; no Qt widgets."""
