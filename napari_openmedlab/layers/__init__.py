"""Napari layers <-> the engine's words: geometry, prompts, edits."""
