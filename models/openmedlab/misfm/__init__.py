"""MIS-FM: segmenters pre-trained by Volume Fusion (Wang et al., arXiv 2306.16925)."""
