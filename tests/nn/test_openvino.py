import json

import pytest
import torch

from openmedlab.nn.device import Runner
from openmedlab.nn.fill import fill_by_name
from openmedlab.sam_med3d.encoder import ImageEncoder

pytest.importorskip("openvino")


class Small(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.image_encoder = ImageEncoder(size=16, patch=4, width=24, depth=3, heads=2, outputs=8)
        fill_by_name(self)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*trace")
def test_openvino_gives_the_same_embedding_and_is_converted_once(tmp_path, monkeypatch):
    x = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = Runner(Small(), "cpu", x.shape, "v1")
    want = plain.encode(x)
    monkeypatch.setenv("OPENMEDLAB_OPENVINO", str(tmp_path))
    fast = Runner(Small(), "cpu", x.shape, "v1")
    got = fast.encode(x)
    assert (want - got).abs().max() < 0.05 * want.abs().max()
    assert fast.version.startswith("v1 openvino")
    assert plain.version == "v1"
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert [name.split(".")[-1] for name in kept] == ["bin", "xml", "json"]

    (tmp_path / "precision.json").write_text(
        json.dumps(dict.fromkeys(json.loads((tmp_path / "precision.json").read_text()), "f32"))
    )
    again = Runner(Small(), "cpu", x.shape, "v1")
    torch.testing.assert_close(again.encode(x), want, rtol=1e-4, atol=1e-4)
    assert again.version == "v1 openvino f32"
    assert sorted(p.name for p in tmp_path.iterdir()) == kept
