"""Segment Anything and MedSAM on slices (Kirillov et al., 2023; Ma et al., 2024)."""
