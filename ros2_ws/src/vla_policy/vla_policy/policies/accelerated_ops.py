# SPDX-License-Identifier: Apache-2.0

"""Tensor operations that the accelerated models share: rotary tables, masks, grouped attention, trimming.

All of them are pure functions of tensors with static shapes, so they can be compiled and captured in a CUDA graph.
Letters in shapes: B batch, S suffix tokens (the chunk), P prefix tokens, H query heads, G query heads per key/value head,
K key/value heads, D channels of a head.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MASKED = -1e30
"""Added to scores that must not count: finite, so that a row without any allowed column stays finite, and small enough
that its exponential is exactly zero in float32 and bfloat16."""
LENGTH_STEP = 8
"""Token counts are rounded up to a multiple of this, so that few shapes are compiled or captured."""


def wavelengths(head_dim: int, base: float, device: torch.device) -> Tensor:
    """Wavelengths over 2 pi of rotary position embeddings (RoFormer, arXiv:2104.09864), (D/2,) float32 from 1 to `base`."""
    exponents = (2.0 / head_dim) * torch.arange(head_dim // 2, dtype=torch.float32, device=device)
    lengths: Tensor = base**exponents
    return lengths


def rotary_table(positions: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of positions.

    Args:
        positions: (B, S) integers.
        lengths: From `wavelengths`.

    Returns:
        Two float32 tensors (B, S, 1, D), as `signed_table` gives them.
    """
    radians = positions[..., None].to(torch.float32) / lengths
    return signed_table(torch.cos(radians), torch.sin(radians))


def signed_table(cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
    """Tables for `rotate` from those of one half: (B, S, D/2) to twice (B, S, 1, D), the sines of the first half negative."""
    return torch.cat((cos, cos), dim=-1)[:, :, None], torch.cat((-sin, sin), dim=-1)[:, :, None]


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the two halves of each head against each other by the table's angles, in float32.

    Args:
        x: (B, S, H, D).
        table: From `rotary_table` or `signed_table`.
    """
    cos, sin = table
    wide = x.to(torch.float32)
    return torch.addcmul(wide * cos, wide.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)


def additive_mask(allowed: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where `allowed`, else `MASKED`."""
    return (~allowed).to(dtype) * MASKED


def positions_of(valid: Tensor) -> Tensor:
    """Position of each valid token, counted over the valid ones only; (B, P) bool to (B, P) int64."""
    return torch.cumsum(valid, dim=1) - 1


def attend_prefix(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of the prefix to itself.

    Args:
        q: (B, P, H, D).
        k: (B, P, K, D), H a multiple of K.
        v: (B, P, K, D).
        mask: Additive, (B, 1, 1 or P, P).
        scale: Factor of the scores.

    Returns:
        (B, P, H * D).
    """
    groups = q.shape[2] // k.shape[2]
    keys, values = (t.transpose(1, 2).repeat_interleave(groups, dim=1) for t in (k, v))
    out = functional.scaled_dot_product_attention(q.transpose(1, 2), keys, values, attn_mask=mask, scale=scale)
    return out.transpose(1, 2).flatten(2)


def attend_grouped(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
    """Attention of few queries to long shared keys, without a copy of the keys per query head.

    Query heads that share a key/value head are laid out as further rows of it.

    Args:
        q: (B, S, H, D).
        k: (B, K, T, D).
        v: (B, K, T, D).
        mask: Additive, (B, 1, 1, T), or (B, 1, G * S, T) from `group_rows`.
        scale: Factor of the scores.

    Returns:
        (B, S, H * D).
    """
    batch, steps, heads, width = q.shape
    kv_heads = k.shape[1]
    rows = q.view(batch, steps, kv_heads, heads // kv_heads, width).permute(0, 2, 3, 1, 4).flatten(2, 3)
    out = functional.scaled_dot_product_attention(rows, k, v, attn_mask=mask, scale=scale)
    out = out.view(batch, kv_heads, heads // kv_heads, steps, width).permute(0, 3, 1, 2, 4)
    return out.reshape(batch, steps, heads * width)


def group_rows(mask: Tensor, groups: int) -> Tensor:
    """Repeat a (B, S, T) mask for each query head of a group: (B, 1, G * S, T)."""
    return mask.repeat(1, groups, 1)[:, None]


def with_room(x: Tensor, rows: int) -> Tensor:
    """Static keys or values (B, P, K, D) as (B, K, P + rows, D) with free rows behind them."""
    return functional.pad(x.transpose(1, 2), (0, 0, 0, rows))


def join(room: Tensor, new: Tensor) -> Tensor:
    """Static keys or values with the suffix's in the free rows; the static rows are not touched.

    Args:
        room: (B, K, P + S, D) from `with_room`.
        new: (B, S, K, D).

    Returns:
        (B, K, P + S, D): `room` itself, or a copy where a gradient has to flow to `new`.
    """
    start = room.shape[2] - new.shape[1]
    if new.requires_grad:
        return torch.cat((room[:, :, :start], new.transpose(1, 2)), dim=2)
    room[:, :, start:] = new.transpose(1, 2)
    return room


def trim(tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Cut the columns behind the last valid token of the batch: masked tokens change nothing but the time they take.

    Args:
        tokens: (B, L) token numbers.
        valid: (B, L) bool or 0/1.

    Returns:
        Both, (B, n): n is the last valid column rounded up to `LENGTH_STEP`, at most L.
    """
    valid = valid.bool()
    used = valid.any(dim=0).nonzero()
    last = int(used[-1]) + 1 if len(used) else 1
    length = min(-(-last // LENGTH_STEP) * LENGTH_STEP, tokens.shape[1])
    return tokens[:, :length], valid[:, :length]


def fold(first: torch.nn.Linear, second: Tensor, second_bias: Tensor) -> tuple[Tensor, Tensor]:
    """One matrix for two linear layers in a row, multiplied in float64.

    Args:
        first: The layer that is applied first, (m, n).
        second: Weight of the next, (o, m).
        second_bias: Its bias, (o,).

    Returns:
        Weight (o, n) and bias (o,), float32.
    """
    weight, bias = first.weight.double(), first.bias.double()
    return (second.double() @ weight).float(), (second.double() @ bias + second_bias.double()).float()


def stack_images(images: list[Tensor], masks: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Cameras as one tensor (C, B, 3, H, W), and which of them are real (B, C)."""
    return torch.stack(images), torch.stack(masks, dim=1)


def present_cameras(config: Any, batch: Mapping[str, Tensor]) -> int:
    """How many of the policy's cameras are in the batch; LeRobot puts the stand-ins for the others behind them."""
    return sum(key in batch for key in config.image_features)
