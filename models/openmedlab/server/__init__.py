"""One server for many viewers: nnInteractive's, MONAI Label's and our own language."""

from openmedlab.server.settings import Settings, is_loopback

__all__ = ["Settings", "is_loopback"]
