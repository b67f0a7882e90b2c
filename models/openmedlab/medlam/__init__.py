"""MedLAM: extreme points of organs in CT, from a few templates (Lei et al., MedLSAM, 2025)."""
