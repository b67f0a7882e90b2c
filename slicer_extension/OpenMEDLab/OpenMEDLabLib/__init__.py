"""What the OpenMEDLab module and its Segment Editor effect share. Importing it does no work."""
# ruff: noqa: N999
