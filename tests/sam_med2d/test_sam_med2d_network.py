import pytest
import torch
from sam_med2d_transcription import attention, encode

from openmedlab.nn.fill import fill_by_name
from openmedlab.sam_med2d.encoder import Attention, ImageEncoder


@pytest.mark.parametrize(
    ("rows", "columns", "window"), [(6, 6, 4), (4, 4, 4), (5, 8, 4), (3, 2, 5)]
)
def test_attention_without_padding_equals_attention_with_it(rows, columns, window):
    module = Attention(width=12, heads=3, window=window)
    fill_by_name(module)
    x = torch.randn(2, rows, columns, 12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(module(x), attention(module, x), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_small_encoder_equals_its_transcription():
    encoder = ImageEncoder(size=96, width=24, depth=3, heads=2, outputs=8, window=4)
    fill_by_name(encoder)
    x = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(encoder(x), encode(encoder, x), rtol=1e-5, atol=1e-5)
