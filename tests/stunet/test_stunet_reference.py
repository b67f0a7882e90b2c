import json
import os
from pathlib import Path

import pytest
import torch

from openmedlab.zoo.cases import read_cases
from openmedlab.zoo.conformance import run
from openmedlab.zoo.registry import build_network

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))
SIZES = {"small": "s", "base": "b", "large": "l", "huge": "h"}

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder of reference cases"
)


@pytest.mark.parametrize(("size", "letter"), SIZES.items())
def test_state_dict_is_the_published_one(size, letter):
    with torch.device("meta"):
        network = build_network(f"stu-net-{letter}")
    have = [[k, list(v.shape)] for k, v in network.state_dict().items()]
    want = json.loads((REFERENCE / f"stunet_{size}" / "keys.json").read_text())
    assert have == [[key, shape] for key, shape, _ in want]


def check(size, wanted):
    torch.set_num_threads(1)
    system = f"stunet_{size}"
    chosen = [c.name for c in read_cases(REFERENCE / system) if wanted(c)]
    results = run(REFERENCE / system, only=[f"{system}/{name}" for name in chosen])
    assert len(results) == len(chosen) > 0
    assert [str(r) for r in results if r.status != "passed"] == []


@pytest.mark.parametrize("size", ["small", "base"])
def test_networks_agree_with_the_published_code(size):
    check(size, lambda case: case.name.startswith("fwd_min"))


def test_everything_around_the_network_agrees_with_nnunet():
    check(
        "small", lambda case: case.target in ("preprocess", "preprocess_mask", "gaussian", "export")
    )


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("size", SIZES)
def test_whole_cases_agree_with_the_published_code(size):
    check(size, lambda case: True)
