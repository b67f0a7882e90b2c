import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_tuning
import torch
from typer.testing import CliRunner

from openmedlab.cli.app import app
from openmedlab.zoo import read_checkpoint

FEW = ("--model", "tiny", "--steps", "2", "--batch", "2", "--rate", "0.005", "--device", "cpu")


def cli(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


def test_a_folder_becomes_weights_that_label(tiny, folder, tmp_path):
    out = tmp_path / "out"
    made = cli("finetune", folder, *FEW, "--weights", tiny, "-o", out, "--val", "scan2")
    assert made.exit_code == 0, made.output
    for words in ("judged by scan2", "GB on cpu", "update 0: on validation", "update 2: loss"):
        assert words in made.stderr
    for words in ("Dice before", "vessel", "label IMAGE --model tiny --weights", "models import"):
        assert words in made.stdout
    labels = tmp_path / "labels.nii.gz"
    weights = out / "weights.safetensors"
    image = folder / "scan2_image.nii.gz"
    done = cli("label", image, "-o", labels, "--model", "tiny", "--weights", weights, "--json")
    assert done.exit_code == 0, done.output
    assert set(json.loads(done.stdout)["structures"]) <= {"organ", "vessel"}
    assert labels.exists()


def test_the_plan_alone_trains_nothing(tiny, folder, tmp_path):
    out = tmp_path / "out"
    made = cli("finetune", folder, *FEW, "--weights", tiny, "-o", out, "--plan", "--few-shot")
    assert made.exit_code == 0, made.output
    assert "its encoder kept as it is" in made.stdout
    assert "GB on cpu" in made.stdout
    assert not out.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--labels", "heart"), "No volume has a label 'heart'"),
        (("--val", "scan9"), "There is no volume 'scan9' to validate on"),
        (("--model", "medsam"), "'medsam' cannot be fine-tuned"),
        (("--weights", "absent.pt"), "absent.pt is not a file"),
    ],
)
def test_wrong_words_end_in_a_sentence(tiny, folder, tmp_path, words, sentence):
    made = cli("finetune", folder, *FEW, "--weights", tiny, "-o", tmp_path / "out", *words)
    assert made.exit_code == 2
    assert sentence in made.stderr
    assert "Traceback" not in made.output


def processes(count, *words, home):
    """Run ``openmedlab`` with the tiny network, in one process or under torchrun."""
    here = Path(tiny_tuning.__file__)
    start = [sys.executable, str(here)]
    if count > 1:
        run = ("-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}")
        start = [sys.executable, *run, str(here)]
    environment = {**os.environ, "OPENMEDLAB_HOME": str(home), "OMP_NUM_THREADS": "1"}
    command = [*start, *(str(w) for w in words)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_two_processes_learn_what_one_does(tiny, folder, tmp_path):
    found = {}
    for count in (1, 2):
        out = tmp_path / f"out{count}"
        words = ("finetune", folder, *FEW, "--batch", 4, "--weights", tiny, "-o", out, "--json")
        done = processes(count, *words, home=tmp_path / "home")
        assert done.returncode == 0, done.stderr
        found[count] = json.loads(done.stdout), read_checkpoint(out / "weights.safetensors")
    (alone, one), (shared, two) = found[1], found[2]
    assert (alone["processes"], shared["processes"]) == (1, 2)
    assert alone["curve"][0] == shared["curve"][0]
    for a, b in zip(alone["curve"][1:], shared["curve"][1:], strict=True):
        assert a == pytest.approx(b, rel=1e-4)
    assert one.keys() == two.keys()
    # an instance norm takes these biases away: their gradient is rounding, which AdamW enlarges
    idle = re.compile(r"conv[12]\.bias$")
    for name in (name for name in one if not idle.search(name)):
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    moved = read_checkpoint(tiny)
    assert not torch.allclose(one["seg_outputs.4.weight"], moved["seg_outputs.4.weight"], atol=1e-4)


@pytest.mark.slow
def test_samples_that_two_processes_cannot_share_are_refused(tiny, folder, tmp_path):
    words = ("finetune", folder, *FEW, "--batch", 3, "--weights", tiny, "-o", tmp_path / "out")
    done = processes(2, *words, home=tmp_path / "home")
    assert done.returncode != 0
    assert "3 samples an update cannot be shared by 2 processes" in done.stderr
