"""``openmedlab serve`` as a program of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from openmedlab.client import Client
from openmedlab.core import Geometry, InputError, Point, Volume
from openmedlab.server.settings import Settings, is_loopback


def start(home, *options):
    environment = {**os.environ, "OPENMEDLAB_HOME": str(home)}
    return subprocess.Popen(
        [sys.executable, "-m", "openmedlab.cli", "serve", "--port", "0", "--json", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_started_used_and_stopped(tmp_path):
    with start(tmp_path, "--token", "secret") as process:
        try:
            told = json.loads(process.stdout.readline())
            assert told["token"] == "secret"
            shape = (16, 24, 24)
            grid = np.stack(np.mgrid[[slice(n) for n in shape]], -1)
            array = np.where(((grid - (8, 12, 12)) ** 2).sum(-1) < 30, 200, 0).astype(np.int16)
            client = Client(told["address"], "secret")
            session = client.open(Volume(array, Geometry.from_spacing(shape)))
            session.add_object("ball")
            session.add_prompt(1, Point((8, 12, 12)))
            assert session.predict(1) is not None
            process.send_signal(signal.SIGTERM)
            process.wait(60)
            assert client.test().problem == "unreachable"
            (journal,) = (tmp_path / "journals" / "server").glob("*.jsonl")
            assert json.loads(journal.read_text().splitlines()[0])["op"] == "open"
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()


def test_the_network_is_let_in_with_a_token_only():
    with pytest.raises(InputError, match="token"):
        Settings(host="0.0.0.0")
    assert Settings(host="0.0.0.0", token="secret").token == "secret"
    assert Settings(host="::1").token is None


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("localhost", True),
        ("[::1]", True),
        ("0.0.0.0", False),
        ("192.168.1.5", False),
        ("localhost.evil.example", False),
        ("", False),
    ],
)
def test_what_counts_as_this_machine(host, answer):
    assert is_loopback(host) is answer
