import pytest
import torch
from sam_med3d_transcription import attention, encode

from openmedlab.nn.fill import fill_by_name
from openmedlab.sam_med3d.encoder import Attention, ImageEncoder


@pytest.mark.parametrize(("n", "window"), [(3, 5), (3, 4), (4, 4), (2, 7)])
def test_attention_without_padding_equals_attention_with_it(n, window):
    module = Attention(width=12, heads=3, window=window)
    fill_by_name(module)
    x = torch.randn(2, n, n, n, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), attention(module, x), rtol=1e-5, atol=1e-5)


def test_padding_is_exact_when_its_scores_dominate():
    module = Attention(width=8, heads=2, window=6)
    fill_by_name(module)
    with torch.no_grad():
        module.qkv.bias.mul_(40)
        module.rel_pos_h.mul_(5)
    x = torch.randn(1, 3, 3, 3, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(module(x), attention(module, x), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_small_encoder_equals_its_transcription():
    encoder = ImageEncoder(size=16, patch=4, width=24, depth=3, heads=2, outputs=8, window=6)
    fill_by_name(encoder)
    x = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(encoder(x), encode(encoder, x), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_published_encoder_equals_its_transcription():
    encoder = ImageEncoder()
    fill_by_name(encoder)
    x = torch.randn(1, 1, 128, 128, 128, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(encoder(x), encode(encoder, x), rtol=1e-4, atol=1e-4)
