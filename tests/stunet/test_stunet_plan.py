import json
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch

from openmedlab.core import InputError
from openmedlab.stunet.network import STRIDES, build_network
from openmedlab.stunet.plan import Plan, released_plan
from openmedlab.stunet.preprocess import normalise, resample
from openmedlab.stunet.resample import separate_axis
from openmedlab.stunet.structures import chosen, numbers_by_name, numbers_in, structures
from openmedlab.zoo import read_checkpoint, read_plans

CPU = torch.device("cpu")


def nnunet_v1(**changed):
    stage = OrderedDict(
        patch_size=np.array([128, 128, 128]),
        current_spacing=np.array([1.5, 1.5, 1.5]),
        pool_op_kernel_sizes=[list(s) for s in STRIDES],
    )
    plans = OrderedDict(
        num_modalities=1,
        num_classes=np.int64(104),
        normalization_schemes=OrderedDict({0: "nonCT"}),
        use_mask_for_norm=OrderedDict({0: False}),
        transpose_forward=[0, 1, 2],
        dataset_properties={"intensityproperties": None},
        plans_per_stage={0: stage},
    )
    return OrderedDict(init=("", 0), name="STUNetTrainer_small", plans=plans | changed)


def test_the_pickle_beside_a_checkpoint_gives_the_released_plan(tmp_path):
    path = tmp_path / "small_ep4k.model.pkl"
    path.write_bytes(pickle.dumps(nnunet_v1(), protocol=4))
    assert Plan.from_nnunet(read_plans(path)) == released_plan()


def test_statistics_of_a_clipping_plan_are_read(tmp_path):
    known = {"mean": 104.4, "sd": 152.6, "percentile_00_5": -958.0, "percentile_99_5": 821.0}
    content = nnunet_v1(
        normalization_schemes={0: "CT"}, dataset_properties={"intensityproperties": {0: known}}
    )
    path = tmp_path / "x.pkl"
    path.write_bytes(pickle.dumps(content))
    plan = Plan.from_nnunet(read_plans(path))
    image = normalise(torch.tensor([[[-2000.0, 104.4, 5000.0]]]), plan)
    expected = (np.array([-958.0, 104.4, 821.0]) - 104.4) / 152.6
    np.testing.assert_allclose(image[0, 0], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    [{"num_modalities": 2}, {"plans_per_stage": {}}, {"normalization_schemes": {"0": "odd"}}],
)
def test_plans_that_cannot_be_used_are_said_in_a_sentence(changed):
    content = json.loads(json.dumps(nnunet_v1() | {"plans": {}}, default=str))
    content["plans"] = {"num_modalities": 1, **changed}
    with pytest.raises(InputError, match="plans"):
        Plan.from_nnunet(content)


@pytest.mark.parametrize("wrapper", ["v1", "v2"])
def test_both_published_wrappers_load(tmp_path, wrapper):
    torch.manual_seed(0)
    state = build_network("small").state_dict()
    scalar = np.float64(0.5)
    wrapped = {
        "v1": {"epoch": 4000, "state_dict": OrderedDict(state), "best_stuff": (scalar, None, None)},
        "v2": {"network_weights": state, "_best_ema": scalar, "trainer_name": "STUNetTrainer"},
    }[wrapper]
    path = tmp_path / "small_ep4k.model"
    torch.save(wrapped, path)
    build_network("small").load_state_dict(read_checkpoint(path))


def test_one_axis_is_resampled_apart_only_where_it_alone_is_coarse():
    assert separate_axis((5, 0.8, 0.8), (1.5, 1.5, 1.5)) == 0
    assert separate_axis((2.5, 0.9, 1.1), (1.5, 1.5, 1.5)) is None
    assert separate_axis((5, 5, 0.8), (1.5, 1.5, 1.5)) is None
    assert separate_axis((1, 1, 1), (1.5, 1.5, 5)) == 2


def test_an_empty_volume_is_refused():
    with pytest.raises(InputError, match="nothing to label"):
        resample(np.zeros((4, 4, 4), np.int16), (1, 1, 1), released_plan(), CPU)


def test_every_structure_has_a_code_a_colour_and_its_numbers_by_name():
    known = structures()
    assert list(known) == list(range(1, 105))
    assert len({s.color for s in known.values()}) == 104
    assert all(s.snomed.isdigit() for s in known.values())
    liver = next(n for n, s in known.items() if s.name == "liver")
    assert sorted(numbers_in("totalsegmentator_v1").values()) == list(range(1, 105))
    assert numbers_in("totalsegmentator_v1")[liver] == numbers_in("totalsegmentator_v2")[liver] == 5
    assert numbers_by_name({7: "liver", 8: "unicorn"}) == {liver: 7}


def test_an_unknown_structure_is_refused_with_near_names():
    with pytest.raises(InputError, match="kidney_left"):
        chosen(["kidney left"], {n: s.name for n, s in structures().items()})
