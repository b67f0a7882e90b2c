"""SAM-Med3D: promptable segmentation of volumes (Wang et al., ECCV workshops 2024)."""
