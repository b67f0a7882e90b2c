"""The store's small memory: licences accepted, digests pinned, what was stored and from where."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from openmedlab.core.progress import CancelToken
from openmedlab.zoo.errors import WeightsError
from openmedlab.zoo.files import locked, writing


@dataclass(frozen=True)
class Stored:
    """One stored file: its own digest, and the checkpoint that it was made from."""

    sha256: str
    size: int
    changed: int
    source: str
    source_sha256: str
    published: bool


@dataclass
class Records:
    """Everything remembered, by model name (pins by ``model/file``)."""

    licences: dict[str, str] = field(default_factory=dict)
    pins: dict[str, str] = field(default_factory=dict)
    weights: dict[str, Stored] = field(default_factory=dict)


def read_records(path: Path) -> Records:
    """Read the records; none yet is no error."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        weights = {name: Stored(**entry) for name, entry in data["weights"].items()}
        return Records(dict(data["licences"]), dict(data["pins"]), weights)
    except FileNotFoundError:
        return Records()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"{path} cannot be read ({error}); move it away, the weights beside it stay usable."
        ) from error


@contextmanager
def changing(path: Path) -> Iterator[Records]:
    """Yield the records for a change that is written at the end, one writer at a time."""
    with locked(path.with_suffix(".lock"), CancelToken()):
        records = read_records(path)
        yield records
        with writing(path) as partial:
            partial.write_text(json.dumps(asdict(records), indent=1), encoding="utf-8")
