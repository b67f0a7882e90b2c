"""A network of STU-Net's make, small enough for tests: its card, its weights, its plans.

Run as a program it is ``openmedlab`` with that network known, for torchrun.
"""

import json
from importlib import resources

import torch

from openmedlab.labeling import methods
from openmedlab.stunet.network import Size, StuNetwork
from openmedlab.tuning import families
from openmedlab.zoo import registry
from openmedlab.zoo.checkpoint import write_safetensors

NAME = "tiny"
CARD = """
name = "tiny"
title = "Tiny STU-Net"
task = "labels"
prompts = []
dimensionality = 3
licence = "CC-BY-4.0"
licence_url = "https://example.org/licence"
citation = "Nobody"
memory = "little"
network = "tiny-stu"
[[files]]
name = "tiny.safetensors"
"""


def build(classes=3):
    return StuNetwork(Size(1, (4, 8, 8, 8, 8, 8)), outputs=classes)


def install(setitem=dict.__setitem__):
    """Make the network known where the real ones are."""
    module = __name__ if __name__ != "__main__" else "tiny_tuning"
    setitem(registry.NETWORKS, "tiny-stu", registry.Network(f"{module}:build"))
    setitem(families.FAMILIES, "tiny-stu", families.FAMILIES["stu-net-s"])
    setitem(methods.TUNED, "tiny-stu", methods.TUNED["stu-net-s"])


def write_base(folder, classes=3, seed=3):
    """Write weights to start from, with plans for windows of 32^3 at 2 mm."""
    text = resources.files("openmedlab.stunet").joinpath("plans.json").read_text()
    plans = json.loads(text)
    for stage in plans.get("plans", plans)["plans_per_stage"].values():
        stage["patch_size"], stage["current_spacing"] = [32, 32, 32], [2.0, 2.0, 2.0]
    torch.manual_seed(seed)
    path = folder / "base.safetensors"
    write_safetensors(build(classes).state_dict(), path, {"plans": json.dumps(plans)})
    return path


if __name__ == "__main__":
    from openmedlab.cli import main

    torch.set_num_threads(1)
    install()
    main()
