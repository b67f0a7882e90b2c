"""Judge any promptable: simulated prompts, Dice and surface Dice per click, tables."""

from openmedlab.evaluation.folder import Sample, evaluate_folder, evaluate_sample, samples_in
from openmedlab.evaluation.metrics import dice, normalised_auc, surface_dice
from openmedlab.evaluation.protocol import Case, First, Player, Protocol, run_case
from openmedlab.evaluation.report import Report
from openmedlab.evaluation.simulate import (
    centre_click,
    corrective_click,
    extreme_points,
    innermost,
    shaken,
    tight_box,
)

__all__ = [
    "Case",
    "First",
    "Player",
    "Protocol",
    "Report",
    "Sample",
    "centre_click",
    "corrective_click",
    "dice",
    "evaluate_folder",
    "evaluate_sample",
    "extreme_points",
    "innermost",
    "normalised_auc",
    "run_case",
    "samples_in",
    "shaken",
    "surface_dice",
    "tight_box",
]
