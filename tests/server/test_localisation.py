"""Localisation over the wire, with a localizer that knows where it will find things."""

from __future__ import annotations

import numpy as np
import pytest

from openmedlab.client import Client
from openmedlab.core import ExtremePoints, Geometry, InputError, Localization, Volume
from openmedlab.localization import methods
from openmedlab.localization.templates import TemplateLibrary
from openmedlab.server.run import running

SHAPE = (10, 20, 20)
POINTS = ((2, 8, 8), (6, 8, 8), (4, 5, 8), (4, 12, 8), (4, 8, 3), (4, 8, 15))


class Finder:
    name = "finder"

    def localize(self, templates, volume, progress, cancel):
        assert volume.shape == SHAPE
        return {o: Localization(ExtremePoints(POINTS), 0.75) for o in templates.organs}


def scan():
    rng = np.random.default_rng(0)
    array = rng.integers(-900, 900, SHAPE).astype(np.int16)
    return Volume(array, Geometry.from_spacing(SHAPE, (3, 1, 1)), "CT", "scan")


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setitem(methods.LOCALIZERS, "builtin", lambda choice: Finder())
    volume = scan()
    for organ in ("liver", "spleen"):
        points = volume.geometry.index_to_world(np.array(POINTS))
        TemplateLibrary(tmp_path / "templates").add(organ, points, volume)
    return tmp_path / "templates"


def test_organs_are_found_by_the_servers_templates(make_service, library):
    with running(make_service(templates=library)) as address, Client(address) as client:
        assert client.organs() == ("liver", "spleen")
        found = client.localize(scan())
        assert set(found) == {"liver", "spleen"}
        assert found["liver"].confidence == 0.75
        assert found["liver"].points == ExtremePoints(POINTS)
        assert set(client.localize(scan(), organs=["spleen"])) == {"spleen"}
        with pytest.raises(InputError):
            client.localize(scan(), organs=["wing"])
        with pytest.raises(InputError, match="no localizer"):
            client.localize(scan(), model="wing")


def test_without_templates_the_server_says_so(server):
    with Client(server) as client, pytest.raises(InputError, match="--templates"):
        client.organs()
