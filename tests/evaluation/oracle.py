"""A method that knows the answer."""

import numpy as np

from openmedlab.core import Capabilities, Encoding, LogitsPatch


class Oracle:
    """Knows the answer, and tells half of it first."""

    name, version = "oracle", "1"
    capabilities = Capabilities(frozenset({"point", "box", "extreme points"}))

    def __init__(self, truth):
        self.truth = truth
        self.encoded = 0

    def region(self, geometry, prompts):
        return geometry.region

    def encode(self, volume, region, progress, cancel):
        self.encoded += 1
        return Encoding(region, None, 0)

    def predict(self, encoding, prompts, previous, progress, cancel):
        told = self.truth.copy()
        if len(prompts) == 1:
            told[:, :, : told.shape[2] // 2] = False
        logits = np.where(told, 1, -1).astype(np.float32)
        return LogitsPatch(encoding.region, logits, self.name)

    def warm_up(self):
        pass
