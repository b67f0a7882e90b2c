"""The conformance check: our networks and pipelines against numbers of the published code."""

from __future__ import annotations

import gc
import importlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from openmedlab.core.errors import InputError
from openmedlab.zoo.cases import Case, read_cases

Targets = Mapping[str, Callable[..., Mapping[str, Any]]]
Status = Literal["passed", "failed", "no such target"]

ROOMS: dict[str, tuple[str, Mapping[str, Any]]] = {
    **{f"stunet_{size}": ("stunet", {"size": size}) for size in ("small", "base", "large", "huge")},
    "pctnet": ("misfm", {"network": "pct-net"}),
    "fmunet": ("misfm", {"network": "fmu-net"}),
    "axon_preseg": ("axonseg", {}),
}


@dataclass(frozen=True)
class CaseResult:
    """How one case went.

    Attributes
    ----------
    system, case
        Folder and case name.
    status
        ``"passed"``, ``"failed"`` or ``"no such target"``.
    detail
        The worst output and its error, or what went wrong.
    seconds
        Time taken.
    """

    system: str
    case: str
    status: Status
    detail: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.status:14} {self.system}/{self.case}  {self.detail}"


def run(
    folder: Path,
    only: Sequence[str] = (),
    report: Callable[[CaseResult], object] = lambda _: None,
) -> list[CaseResult]:
    """Run every case of a reference folder.

    Parameters
    ----------
    folder
        Holds one sub-folder with ``cases.json`` per system, or is such a folder itself.
    only
        Systems (``"sam"``), cases (``"enc"``) or both (``"sam/enc"``); all if empty.
    report
        Called with each result as it comes.

    Raises
    ------
    InputError
        Nothing to run is there, or a name in ``only`` matches nothing.
    """
    systems = [folder] if (folder / "cases.json").is_file() else _systems(folder)
    chosen = [(s, [c for c in read_cases(s) if _wanted(s.name, c, only)]) for s in systems]
    known = {word for s, cases in chosen for c in cases for word in _words(s.name, c)}
    if unknown := [name for name in only if name not in known]:
        raise InputError(f"No reference case in {folder} is called {', '.join(unknown)}.")
    results = []
    for system, cases in chosen:
        adapter = _Adapter(system.name)
        for case in cases:
            results.append(_run_case(system.name, case, adapter))
            report(results[-1])
        del adapter
        gc.collect()
    return results


def _systems(folder: Path) -> list[Path]:
    found = sorted(path.parent for path in folder.glob("*/cases.json"))
    if not found:
        raise InputError(f"{folder} holds no reference cases (no cases.json in its sub-folders).")
    return found


def _words(system: str, case: Case) -> tuple[str, str, str]:
    return system, case.name, f"{system}/{case.name}"


def _wanted(system: str, case: Case, only: Sequence[str]) -> bool:
    return not only or not set(only).isdisjoint(_words(system, case))


class _Adapter:
    """A room's targets, made once per build; ``conformance.targets(build)`` makes them."""

    def __init__(self, system: str) -> None:
        room, self._defaults = ROOMS.get(system, (system, {}))
        self._module = f"openmedlab.{room}.conformance"
        self._made: dict[str, Targets] = {}

    def targets(self, build: Mapping[str, Any]) -> Targets:
        """Return the targets; none if the room has no conformance module."""
        build = {**self._defaults, **build}
        key = json.dumps(build, sort_keys=True)
        if key not in self._made:
            try:
                module = importlib.import_module(self._module)
            except ModuleNotFoundError as error:
                if error.name is None or not self._module.startswith(error.name):
                    raise
                return {}
            self._made[key] = module.targets(build)
        return self._made[key]


def _run_case(system: str, case: Case, adapter: _Adapter) -> CaseResult:
    started = time.perf_counter()
    status: Status
    try:
        target = adapter.targets(case.build).get(case.target)
        if target is None:
            status, detail = "no such target", case.target
        else:
            status, detail = _judge(case, target(**case.inputs(), **case.params))
    except Exception as error:
        status, detail = "failed", f"{type(error).__name__}: {error}"
    return CaseResult(system, case.name, status, detail, time.perf_counter() - started)


def _judge(case: Case, answers: Mapping[str, Any]) -> tuple[Status, str]:
    """Return the status, and the output that fails or comes nearest to failing."""
    if missing := [name for name in case.outputs if name not in answers]:
        return "failed", f"no such output: {', '.join(missing)}"
    compared = {name: e.compare(answers[name]) for name, e in case.outputs.items()}
    worst = max(compared, key=lambda name: (not compared[name].good, compared[name].share))
    status: Status = "passed" if compared[worst].good else "failed"
    return status, f"{worst}: {compared[worst].told}"
