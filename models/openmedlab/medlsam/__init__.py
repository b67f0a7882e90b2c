"""MedLSAM: organs localised from templates, then segmented (Lei et al., 2025)."""
