"""The engine's words: numpy (and psygnal) only, no viewer, no files, no networks."""

from openmedlab.core.constraints import check_prompts, hard_voxels, pin
from openmedlab.core.contracts import (
    Capabilities,
    Encoding,
    Labeler,
    Localization,
    Localizer,
    LogitsPatch,
    Method,
    Promptable,
    Segmenter,
    StreamingLabeler,
)
from openmedlab.core.edit import Edit
from openmedlab.core.errors import (
    Cancelled,
    InputError,
    MemoryGuardError,
    OpenMedLabError,
    PromptError,
)
from openmedlab.core.geometry import Geometry, Reorientation
from openmedlab.core.journal import Journal
from openmedlab.core.policy import LabelPolicy, PolicyMode
from openmedlab.core.progress import CancelToken, Progress, Timings
from openmedlab.core.prompts import (
    Box,
    ClassName,
    ExtremePoints,
    Lasso,
    MaskPrompt,
    Point,
    Prompt,
    Scribble,
    prompt_from_json,
)
from openmedlab.core.region import Region
from openmedlab.core.session import LabelObject, Session
from openmedlab.core.volume import Label, LabelVolume, Modality, Volume

__all__ = [
    "Box",
    "CancelToken",
    "Cancelled",
    "Capabilities",
    "ClassName",
    "Edit",
    "Encoding",
    "ExtremePoints",
    "Geometry",
    "InputError",
    "Journal",
    "Label",
    "LabelObject",
    "LabelPolicy",
    "LabelVolume",
    "Labeler",
    "Lasso",
    "Localization",
    "Localizer",
    "LogitsPatch",
    "MaskPrompt",
    "MemoryGuardError",
    "Method",
    "Modality",
    "OpenMedLabError",
    "Point",
    "PolicyMode",
    "Progress",
    "Prompt",
    "PromptError",
    "Promptable",
    "Region",
    "Reorientation",
    "Scribble",
    "Segmenter",
    "Session",
    "StreamingLabeler",
    "Timings",
    "Volume",
    "check_prompts",
    "hard_voxels",
    "pin",
    "prompt_from_json",
]
