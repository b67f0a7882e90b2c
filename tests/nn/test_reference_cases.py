import json
import os
from pathlib import Path

import pytest
import torch

from openmedlab.zoo.cases import read_cases
from openmedlab.zoo.conformance import run
from openmedlab.zoo.registry import build_network

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))
KEYS = {
    "sam-med3d": "sam_med3d/keys.json",
    "sam-med2d": "sam_med2d/keys.json",
    "sam-vit-b": "sam/keys.json",
    "sam-vit-l": "sam/keys_vit_l.json",
    "sam-vit-h": "sam/keys_vit_h.json",
}
SYSTEMS = ("sam_med3d", "sam_med2d", "sam")
SLOW = ("image_encoder", "image_encoder_trace", "predict", "predict_boxes", "dataset_eval")
SLOW_ROOTS = ("roi_infer", "full_infer", "validate_pair")

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder of reference cases"
)


@pytest.mark.parametrize("name", KEYS)
def test_state_dict_is_the_published_one(name):
    with torch.device("meta"):
        have = [[k, list(v.shape)] for k, v in build_network(name).state_dict().items()]
    want = json.loads((REFERENCE / KEYS[name]).read_text())
    assert have == [[key, shape] for key, shape, _ in want]


def check(system, slow):
    chosen = [c.name for c in read_cases(REFERENCE / system) if is_slow(c.target) == slow]
    results = run(REFERENCE / system, only=[f"{system}/{name}" for name in chosen])
    assert len(results) == len(chosen)
    assert [str(r) for r in results if r.status != "passed"] == []


def is_slow(target):
    return target in SLOW or target.startswith(SLOW_ROOTS)


@pytest.mark.parametrize("system", SYSTEMS)
def test_parts_agree_with_the_published_code(system):
    check(system, slow=False)


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS)
def test_networks_and_pipelines_agree_with_the_published_code(system):
    check(system, slow=True)
