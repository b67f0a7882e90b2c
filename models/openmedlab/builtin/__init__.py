"""Training-free methods: prompts in, a mask out, without weights, network or GPU."""

from openmedlab.builtin.click import ClickSegmenter

__all__ = ["ClickSegmenter"]
