"""SAM-Med2D: promptable segmentation of slices (Cheng et al., 2023)."""
