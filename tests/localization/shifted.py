"""A localizer for tests: templates moved by the way from one body's middle to the other's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from openmedlab.core import CancelToken, InputError, Localization, Progress, Volume
from openmedlab.localization.points import to_grid
from openmedlab.localization.templates import TemplateLibrary


def middle(volume: Volume) -> np.ndarray:
    """Middle of all that is not air, in LPS."""
    return volume.geometry.index_to_world(np.argwhere(volume.read() > -300).mean(0))


class Shifted:
    """Spleens are found with low confidence, hearts never."""

    name = "shifted"
    version = "1"
    runs = 0

    def localize(
        self,
        templates: TemplateLibrary,
        volume: Volume,
        progress: Progress,
        cancel: CancelToken,
    ) -> Mapping[str, Localization]:
        type(self).runs += 1
        if volume.name == "unlucky":
            raise InputError("unlucky cannot be done.")
        found = {}
        for template in templates.templates:
            cancel.check()
            kept = templates.features(template, self.version, lambda scan: {"middle": middle(scan)})
            points = to_grid(template.points + middle(volume) - kept["middle"], volume.geometry)
            confidence = 0.3 if template.organ == "spleen" else 0.9
            if template.organ != "heart":
                found[template.organ] = Localization(points, confidence)
        return found
