import pytest
import torch

from openmedlab.core import CancelToken, Point, Progress
from openmedlab.io import read_volume
from openmedlab.tuning.finetune import finetune
from openmedlab.tuning.plan import Request, plan
from openmedlab.zoo import WeightsStore, methods, promptable
from openmedlab.zoo.checkpoint import read_checkpoint


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_fine_tuned_click_network_becomes_a_method_of_its_own(cohort, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENMEDLAB_HOME", str(tmp_path / "home"))
    request = Request("openmedlab-click", cohort, tmp_path / "out", steps=2, batch=1)
    result = finetune(plan(request), Progress(), CancelToken())
    assert result.curve[-1].step == 2
    assert set(result.after) == {"organ", "vessel"}

    WeightsStore().import_checkpoint(result.weights, "ward-7")
    assert methods()["ward-7"].state == "ready"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    mine = promptable("ward-7", device="cpu")
    given = promptable("openmedlab-click", result.weights, "cpu")
    bundled = promptable("openmedlab-click", device="cpu")
    assert len({mine.version, bundled.version}) == 2

    scan = read_volume(cohort.pairs[0].image)
    prompts = [Point(tuple(n // 2 for n in scan.shape))]

    def mask(model):
        encoding = model.encode(
            scan, model.region(scan.geometry, prompts), Progress(), CancelToken()
        )
        return model.predict(encoding, prompts, None, Progress(), CancelToken()).logits

    assert torch.equal(torch.tensor(mask(mine)), torch.tensor(mask(given)))
    assert read_checkpoint(result.weights).keys() == read_checkpoint(_bundled()).keys()


def _bundled():
    from openmedlab.clicknet.load import BUNDLED

    return BUNDLED
