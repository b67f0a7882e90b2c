"""SAM-Med3D's encoder written down as FACTS state it, padding and all: slow, the tests' oracle."""

import torch
from torch.nn import functional


def attention(module, x):
    """What `openmedlab.sam_med3d.encoder.Attention` computes, over all padded tokens."""
    batch, n = x.shape[:2]
    size, heads = module.window, module.heads
    x = functional.pad(x, (0, 0) + (0, size - n) * 3)
    q, k, v = (
        t.view(batch, size**3, heads, -1).transpose(1, 2) for t in module.qkv(x).chunk(3, dim=-1)
    )
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    r = q.reshape(batch, heads, size, size, size, -1)
    offset = torch.arange(size)[:, None] - torch.arange(size)[None] + size - 1
    d, h, w = (t[offset] for t in (module.rel_pos_d, module.rel_pos_h, module.rel_pos_w))
    first = torch.einsum("bnijlc,izc->bnijlz", r, d)[..., :, None, None, :]
    second = torch.einsum("bnijxc,jzc->bnijxz", r, h)[..., None, :, None, :]
    third = torch.einsum("bnijyc,yzc->bnijyz", r, w)[..., None, None, :, :]
    scores = scores.view(*r.shape[:5], size, size, size) + first + second + third
    y = scores.view(batch, heads, size**3, size**3).softmax(-1) @ v
    y = module.proj(y.transpose(1, 2).flatten(2)).view(batch, size, size, size, -1)
    return y[:, :n, :n, :n]


def block(module, x):
    x = x + attention(module.attn, module.norm1(x))
    return x + module.mlp(module.norm2(x))


def encode(encoder, x):
    x = encoder.patch_embed(x) + encoder.pos_embed
    for layer in encoder.blocks:
        x = block(layer, x)
    return encoder.neck(x.movedim(-1, 1))
