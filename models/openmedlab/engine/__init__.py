"""The engine: inference thread, interaction, caches, memory guard, manifests."""

from openmedlab.engine.cache import EncodingCache, shared_cache
from openmedlab.engine.home import home, journal_path
from openmedlab.engine.interaction import Answer, Interaction, answer_prompts, work_ahead
from openmedlab.engine.manifest import manifest, write_manifest
from openmedlab.engine.memory import available_bytes, require_memory
from openmedlab.engine.thread import (
    InferenceThread,
    Ticket,
    TicketState,
    close_inference_threads,
    inference_thread,
)

__all__ = [
    "Answer",
    "EncodingCache",
    "InferenceThread",
    "Interaction",
    "Ticket",
    "TicketState",
    "answer_prompts",
    "available_bytes",
    "close_inference_threads",
    "home",
    "inference_thread",
    "journal_path",
    "manifest",
    "require_memory",
    "shared_cache",
    "work_ahead",
    "write_manifest",
]
