"""STU-Net: 104 structures of a CT in one pass (Huang et al., arXiv 2304.06716)."""
