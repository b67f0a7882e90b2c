"""Tiny networks, their cards, and a publisher on the loopback."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType
from typing import TYPE_CHECKING

import pytest

from openmedlab.zoo import card as card_module
from openmedlab.zoo import download as download_module
from openmedlab.zoo import registry
from openmedlab.zoo.registry import Network

if TYPE_CHECKING:
    import torch


def one() -> torch.nn.Module:
    import torch

    return torch.nn.Sequential(torch.nn.Linear(64, 48), torch.nn.BatchNorm1d(48))


def two() -> torch.nn.Module:
    import torch

    return torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Linear(4, 2, bias=False))


class Predictor:
    def __init__(self, network, *, device, version):
        self.network, self.device, self.version = network, device, version


@pytest.fixture(scope="session", autouse=True)
def _own_home(tmp_path_factory):
    """Keep journals, encodings and weights of tests out of the user's home."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENMEDLAB_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home where two tiny networks are all there is."""
    tiny = ModuleType("tiny_networks")
    tiny.one, tiny.two, tiny.Predictor = one, two, Predictor
    monkeypatch.setitem(sys.modules, "tiny_networks", tiny)
    monkeypatch.setattr(
        registry,
        "NETWORKS",
        {n: Network(f"tiny_networks:{n}", "tiny_networks:Predictor") for n in ("one", "two")},
    )
    monkeypatch.setattr(card_module, "_shipped", dict)
    monkeypatch.setattr(download_module, "RETRY_DELAYS", (0.0, 0.0))
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    return tmp_path / "home"


@pytest.fixture
def add_card(home):
    """Write a card into the home; returns nothing."""

    def add(name, network="one", licence="MIT", file=None, **fields):
        file = file or f"{name}.pth"
        lines = [f'{k} = "{v}"' if isinstance(v, str) else f"{k} = {v}" for k, v in fields.items()]
        text = f"""
            name = "{name}"
            title = "Model {name}"
            task = "promptable"
            prompts = ["point"]
            dimensionality = 3
            licence = "{licence}"
            licence_url = "https://example.org/{licence}"
            citation = "Nobody"
            memory = "little"
            network = "{network}"
            [[files]]
            name = "{file}"
            """ + "\n".join(lines)
        (home / "cards").mkdir(parents=True, exist_ok=True)
        (home / "cards" / f"{name}.toml").write_text(text)

    return add


class Publisher:
    """Serves bytes by path; breaks off, waits, forgets ranges or answers otherwise when told."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.break_after: list[int] = []
        self.hold_after = 0
        self.go_on = threading.Event()
        self.knows_ranges = True
        self.status = 200
        self.content_type = "application/octet-stream"
        self.asked = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                publisher.asked.set()
                publisher.gate.wait(10)
                publisher.answer(self)

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{name}"

    def close(self) -> None:
        self.go_on.set()
        self.server.shutdown()
        self.server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.ranges.append(asked)
        if self.status != 200:
            request.send_error(self.status)
            return
        content = self.files[request.path.lstrip("/")]
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        start = int(re.findall(r"\d+", asked)[0]) if asked and self.knows_ranges else 0
        if request.headers.get("If-Range") not in (None, etag):
            start = 0
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-/{len(content)}")
        request.send_header("ETag", etag)
        request.send_header("Content-Type", self.content_type)
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        rest = content[start:]
        rest = rest[: self.break_after.pop(0)] if self.break_after else rest
        with contextlib.suppress(ConnectionError):
            request.wfile.write(rest[: self.hold_after])
            if self.hold_after:
                self.go_on.wait(10)
            request.wfile.write(rest[self.hold_after :])


@pytest.fixture
def publisher():
    server = Publisher()
    yield server
    server.close()
