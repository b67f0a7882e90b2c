"""Axon-Seg: axons of cleared mouse brains under the light sheet (Li et al., D-LMBmap, 2023)."""
