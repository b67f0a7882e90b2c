"""Runs of the command line, and small files for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from openmedlab.core import LabelVolume, Volume
from openmedlab.io import phantom, write_labels, write_volume


@dataclass(frozen=True)
class Run:
    """What a command gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))


@pytest.fixture
def cli() -> Callable[..., Run]:
    """Run ``openmedlab`` with these arguments, in this process."""
    from openmedlab.cli.app import app

    def run(*arguments: object) -> Run:
        done = CliRunner().invoke(app, [str(a) for a in arguments])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Run(done.exit_code, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def torso() -> tuple[Volume, LabelVolume]:
    """A small oblique phantom with its labels."""
    return phantom((30, 80, 100))


@pytest.fixture(scope="session")
def torso_files(torso: tuple[Volume, LabelVolume], tmp_path_factory: pytest.TempPathFactory):
    """Paths of the phantom's image and labels."""
    folder = tmp_path_factory.mktemp("torso")
    return (
        write_volume(torso[0], folder / "torso.nii.gz"),
        write_labels(torso[1], folder / "torso_labels.nii.gz"),
    )
