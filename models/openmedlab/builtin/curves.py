"""How much each measurement counts: one response curve per kind of evidence.

A cell's log odds are the sum of its measurements' curves (an additive logistic model).
The curves, a few numbers each, were calibrated on half of the public test volumes
(``benchmarks/builtin_click.md`` has the figures on the other half).
"""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

import numpy as np

from openmedlab.builtin.evidence import Evidence
from openmedlab.builtin.grid import Float

CALIBRATED_ON = frozenset(
    {
        "ct_abdpelvis_ts",
        "ct_headneck_okbp_004",
        "ct_headneck_okbp_060",
        "ct_headneck_okbp_286",
        "ct_limb_sts_001",
        "ct_lumbar_tpt",
        "ct_thorax_aorta_ts",
        "mr_brain_pyr_brain1",
        "mr_brain_vxm_aseg",
        "mr_limb_sts_001",
    }
)
Curves = dict[str, tuple[list[float], list[float]]]


@cache
def load() -> dict[str, Curves]:
    """Return the curves by situation (``"box"``, ``"extreme"``, ``"click"``, ``"add"`` ...)."""
    text = files("openmedlab.builtin").joinpath("curves.json").read_text(encoding="utf-8")
    found: dict[str, Curves] = json.loads(text)
    return found


def odds(situation: str, evidence: Evidence) -> Float:
    """Return the log odds that ``evidence`` gives every cell."""
    total = np.zeros(next(iter(evidence.values())).shape, np.float32)
    for name, (knots, values) in load()[situation].items():
        total += np.interp(evidence[name], knots, values).astype(np.float32)
    return total
