"""Model cards, the weights store, networks by name, and the conformance check."""

from openmedlab.zoo.card import CardFile, ModelCard, cards, read_card
from openmedlab.zoo.checkpoint import read_checkpoint
from openmedlab.zoo.errors import AmbiguousError, LicenceError, ManualDownloadError, WeightsError
from openmedlab.zoo.methods import OfferedMethod, State, methods, model_state, promptable
from openmedlab.zoo.plans import read_plans
from openmedlab.zoo.registry import NETWORKS, Network, build_network, signature
from openmedlab.zoo.store import ModelInfo, WeightsStore, weights_changed

__all__ = [
    "NETWORKS",
    "AmbiguousError",
    "CardFile",
    "LicenceError",
    "ManualDownloadError",
    "ModelCard",
    "ModelInfo",
    "Network",
    "OfferedMethod",
    "State",
    "WeightsError",
    "WeightsStore",
    "build_network",
    "cards",
    "methods",
    "model_state",
    "promptable",
    "read_card",
    "read_checkpoint",
    "read_plans",
    "signature",
    "weights_changed",
]
