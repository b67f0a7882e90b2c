"""SAM-Med2D's windowed attention with its padding computed: the tests' oracle."""

import torch
from torch.nn import functional


def attention(module, x):
    """What `openmedlab.sam_med2d.encoder.Attention` computes, over all padded tokens."""
    batch, rows, columns, width = x.shape
    s = module.window
    x = functional.pad(x, (0, 0, 0, -columns % s, 0, -rows % s))
    tall, wide = x.shape[1] // s, x.shape[2] // s
    x = x.view(batch, tall, s, wide, s, width).transpose(2, 3).reshape(-1, s * s, width)
    q, k, v = (
        t.unflatten(-1, (module.heads, -1)).transpose(1, 2) for t in module.qkv(x).chunk(3, -1)
    )
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    offset = torch.arange(s)[:, None] - torch.arange(s)[None] + s - 1
    r = q.unflatten(2, (s, s))
    by_row = torch.einsum("bnyxc,ykc->bnyxk", r, module.rel_pos_h[offset])[..., None]
    by_column = torch.einsum("bnyxc,xkc->bnyxk", r, module.rel_pos_w[offset])[..., None, :]
    scores = (scores.view(*r.shape[:4], s, s) + by_row + by_column).flatten(4).flatten(2, 3)
    y = module.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    y = (
        y.view(batch, tall, wide, s, s, width)
        .transpose(2, 3)
        .reshape(batch, tall * s, wide * s, width)
    )
    return y[:, :rows, :columns]


def adapter(module, x):
    gated = (x * module.channel(x.mean((1, 2)))[:, None, None]).movedim(-1, 1)
    return module.norm(x + module.spatial(gated).movedim(1, -1))


def block(module, x):
    x = x + attention(module.attn, module.norm1(x))
    m = module.norm2(x)
    return x + module.mlp(m) + adapter(module.Adapter, m)


def encode(encoder, x):
    x = encoder.patch_embed(x) + encoder.pos_embed
    for layer in encoder.blocks:
        x = block(layer, x)
    return encoder.neck(x.movedim(-1, 1))
