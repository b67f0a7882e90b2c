"""Axons in volumes of any size: segmented block by block, skeletonised, measured."""
