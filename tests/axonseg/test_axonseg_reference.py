import os
from pathlib import Path

import pytest
import torch

from openmedlab.zoo.cases import read_cases
from openmedlab.zoo.conformance import run

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))
QUICK = ("plain_64", "metrics_", "local_contrast", "gauss_cal", "fine_label", "axial_v64_att")

pytestmark = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder of reference cases"
)


def check(system, wanted):
    torch.set_num_threads(1)
    chosen = [c.name for c in read_cases(REFERENCE / system) if wanted(c.name)]
    results = run(REFERENCE / system, only=[f"{system}/{name}" for name in chosen])
    assert len(results) == len(chosen) > 0
    assert [str(r) for r in results if r.status != "passed"] == []


def test_networks_labels_and_scores_agree_with_the_published_code():
    check("axonseg", lambda name: name.startswith(QUICK))


def test_the_older_network_and_the_tiling_agree_with_the_published_code():
    check("axon_preseg", lambda name: name.startswith(("tiling", "unet2c")))


@pytest.mark.slow
@pytest.mark.parametrize("system", ["axonseg", "axon_preseg"])
def test_every_case_agrees_with_the_published_code(system):
    check(system, lambda name: True)
