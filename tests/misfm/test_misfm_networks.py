import json
import os
from pathlib import Path

import pytest
import torch

from openmedlab.core import InputError
from openmedlab.misfm.fmunet import FmuNet
from openmedlab.misfm.pctnet import PctNet
from openmedlab.misfm.pretrained import start_from
from openmedlab.misfm.swin import SwinStage, WindowAttention
from openmedlab.misfm.window import sliding_window
from openmedlab.zoo.cases import read_cases
from openmedlab.zoo.conformance import run
from openmedlab.zoo.registry import build_network

REFERENCE = Path(os.environ.get("OPENMEDLAB_REFERENCE", "absent"))
FAST = ("pct_stage_e2", "volf_fusion_a", "sliding_window_a")

with_reference = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="OPENMEDLAB_REFERENCE names no folder of reference cases"
)


@with_reference
@pytest.mark.parametrize(
    ("name", "folder", "variant"),
    [
        ("pct-net", "pctnet", "downstream_2class"),
        ("pct-net-volf", "pctnet", "pretext_5class"),
        ("fmu-net", "fmunet", None),
    ],
)
def test_state_dict_is_the_published_one(name, folder, variant):
    with torch.device("meta"):
        state = build_network(name).state_dict()
    want = json.loads((REFERENCE / folder / "keys.json").read_text())
    keys = (want[variant] if variant else want)["keys"]
    assert [
        [k, list(v.shape), str(v.dtype).removeprefix("torch.")] for k, v in state.items()
    ] == keys


@with_reference
@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("system", ["pctnet", "fmunet"])
def test_cases_agree_with_the_published_code(system, fast):
    torch.set_num_threads(1)
    names = [c.name for c in read_cases(REFERENCE / system) if (c.name in FAST) == fast]
    results = run(REFERENCE / system, only=[f"{system}/{n}" for n in names]) if names else []
    assert [str(r) for r in results if r.status != "passed"] == []


def test_offsets_share_rows_as_the_checkpoints_have_it():
    index = WindowAttention(8, 2, 6).relative_position_index
    assert index.shape == (216, 216)
    assert len(index.unique()) == 291


def test_small_maps_shrink_the_window_and_do_not_shift():
    stage = SwinStage(8, 2, (4, 8, 8))
    assert [(b.side, b.shift) for b in stage.blocks] == [(4, 0), (4, 0)]
    x = torch.randn(1, 8, 4, 8, 8)
    assert stage(x).shape == x.shape


def test_attention_does_not_cross_the_rolled_edge():
    stage = SwinStage(8, 2, (12, 12, 12)).eval()
    x = torch.randn(1, 8, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    other = x.clone()
    other[..., -1] += 1
    with torch.inference_mode():
        changed = (stage(x) != stage(other)).any(1)[0]
    assert changed[..., -1].all()
    assert not changed[..., 0].any()


def test_pretrained_weights_leave_out_the_class_layers_and_say_so():
    network = FmuNet(classes=2)
    left = start_from(network, FmuNet(classes=5).state_dict())
    assert left == [f"out_layers.{k}.2.{kind}" for k in range(4) for kind in ("weight", "bias")]
    with pytest.raises(InputError, match="another network"):
        start_from(network, PctNet().state_dict())


def test_windows_average_to_the_network_where_it_is_pointwise():
    x = torch.randn(1, 1, 9, 14, 11)
    found = sliding_window(x, lambda part: torch.cat([part, -part], 1), (4, 8, 6), (2, 5, 3))
    torch.testing.assert_close(found, torch.cat([x, -x], 1))
