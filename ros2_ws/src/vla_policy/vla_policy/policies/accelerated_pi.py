# SPDX-License-Identifier: Apache-2.0

"""pi0's and pi0.5's inference with everything that the denoising steps share computed once (arXiv:2410.24164, 2504.16054).

The weights and the image preparation are those of the loaded LeRobot policy (lerobot 0.6, `policies/pi0`, `policies/pi05`),
which keeps the prefix's keys and values too, but clones and extends that cache in every step. Beyond sparing that:

* padding of the prompt (48 or 200 tokens) and stand-ins for missing cameras, which nothing attends to, are left out;
* pi0's state token does not look at the actions, so its keys and values are part of the prefix;
* pi0.5's time enters through the scale, shift and gate of each norm: a table with one row per step instead of 2 L + 1
  projections per step, which are a quarter of the expert's weights.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lerobot.policies.common.vla_utils import create_sinusoidal_pos_embedding, pad_vector
from lerobot.utils.constants import OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS, OBS_STATE
from torch import Tensor
from torch.nn import functional

from vla_policy.policies import accelerated_ops as ops

Static = tuple[Tensor, ...]


class PiCore:
    """The stages of one pi0 or pi0.5 inference as functions of tensors.

    Attributes:
        steps: Denoising steps.
        times: What step k adds to the action embedding, (steps, width), or for pi0.5 scale, shift and gate of each norm,
            (steps, norms, 3, width); float32.
        chunk_shape: (chunk, action channels) of the noise.
    """

    def __init__(self, policy: Any, dtype: torch.dtype) -> None:
        """Read the policy's layers and make the tables.

        Args:
            policy: A loaded `PI0Policy` or `PI05Policy`; its transformers are converted to `dtype` in place, its norms and
                vision tower stay float32 as LeRobot keeps them.
            dtype: float32 or bfloat16.
        """
        config, model = policy.config, policy.model
        joint = model.paligemma_with_expert
        joint.to_bfloat16_for_selected_params("bfloat16" if dtype == torch.bfloat16 else "float32")
        self._policy, self._model, self._dtype = policy, model, dtype
        self._text, self._expert = joint.paligemma.model.language_model, joint.gemma_expert.model
        attention = self._expert.layers[0].self_attn
        self._head_dim, self._scale = int(attention.head_dim), float(attention.scaling)
        self._groups = int(attention.num_key_value_groups)
        self._adaptive = policy.name == "pi05"
        self.steps = int(config.num_inference_steps)
        self.chunk_shape = (int(config.chunk_size), int(config.max_action_dim))
        with torch.no_grad():
            self._in_weight, self._in_bias, self.times = self._tables(config)

    def inputs(self, batch: Mapping[str, Tensor]) -> Static:
        """Prepare a preprocessed batch.

        Returns:
            Images (C, B, 3, H, W) in -1…1, real cameras (B, C), tokens (B, L), valid tokens (B, L), state (B, n), which
            pi0.5 does not read: its state is part of the prompt.
        """
        images, masks = self._policy._preprocess_images(dict(batch))
        count = ops.present_cameras(self._policy.config, batch)
        pixels, real = ops.stack_images(images[:count], masks[:count])
        tokens, valid = ops.trim(batch[OBS_LANGUAGE_TOKENS], batch[OBS_LANGUAGE_ATTENTION_MASK])
        if self._adaptive:
            return pixels, real, tokens, valid
        state = pad_vector(batch[OBS_STATE], self._policy.config.max_state_dim)
        return pixels, real, tokens, valid, state.to(self._model.state_proj.weight.dtype)

    def vision(self, pixels: Tensor) -> Tensor:
        """Image tokens: (C, B, 3, H, W) to (C, B, n, width)."""
        tokens: Tensor = self._model.paligemma_with_expert.embed_image(pixels.flatten(0, 1))
        shaped: Tensor = tokens.unflatten(0, pixels.shape[:2])
        return shaped

    def prefix(self, images: Tensor, real: Tensor, tokens: Tensor, valid: Tensor, *state: Tensor) -> Static:
        """Everything that the denoising steps read, from one observation.

        Args:
            images: From `vision`.
            real: Real cameras (B, C); this and the rest as `inputs` gives them.
            tokens: (B, L).
            valid: (B, L).
            *state: (B, n); only pi0.

        Returns:
            Mask of the steps (B, 1, 1, T), cosines and sines of the chunk (B, S, 1, D), then each layer's keys and values
            (B, K, T, D) with free rows for the chunk.
        """
        words = self._model.paligemma_with_expert.embed_language_tokens(tokens)
        parts = [*images, words]
        keep = torch.cat((*(real[:, [c]].expand(-1, images.shape[2]) for c in range(len(images))), valid), dim=1)
        hidden = torch.cat([part.to(self._dtype) for part in parts], dim=1)
        mask = ops.additive_mask(keep[:, None, None, :], self._dtype)
        table = self._table(self._text, hidden, ops.positions_of(keep))
        keys_values: list[tuple[Tensor, Tensor]] = []
        for layer in self._text.layers:
            normed = _plain_norm(layer.input_layernorm, hidden)
            k, v = self._heads(layer.self_attn.k_proj(normed)), self._heads(layer.self_attn.v_proj(normed))
            keys_values.append((ops.rotate(k, table), v))
            if len(keys_values) < len(self._text.layers):
                q = ops.rotate(self._heads(layer.self_attn.q_proj(normed)), table)
                attended = ops.attend_prefix(q, *keys_values[-1], mask, self._scale)
                hidden = hidden + layer.self_attn.o_proj(attended)
                hidden = hidden + layer.mlp(_plain_norm(layer.post_attention_layernorm, hidden))
        if state:
            keep, keys_values = self._with_state(state[0], keep, keys_values)
        chunk = self.chunk_shape[0]
        steps = keep.sum(dim=1, keepdim=True) + torch.arange(chunk, device=keep.device)
        room = torch.cat((keep, keep.new_ones(len(keep), chunk)), dim=1)
        return (
            ops.additive_mask(room[:, None, None, :], self._dtype),
            *self._table(self._expert, hidden, steps),
            *(ops.with_room(part, chunk) for pair in keys_values for part in pair),
        )

    def step(self, x: Tensor, time: Tensor, *static: Tensor) -> Tensor:
        """Velocity of the noisy chunk.

        Args:
            x: (B, S, m) float32.
            time: `times[k]`.
            static: From `prefix`.

        Returns:
            (B, S, m) float32.
        """
        mask, cos, sin = static[:3]
        hidden = functional.linear(x, self._in_weight, self._in_bias if self._adaptive else time)
        if not self._adaptive:
            hidden = self._model.action_time_mlp_out(functional.silu(hidden))
        hidden = hidden.to(self._dtype)
        norms = iter(time.unbind(0)) if self._adaptive else None
        for i, layer in enumerate(self._expert.layers):
            normed, gate = _norm(layer.input_layernorm, hidden, norms)
            q, k = (
                ops.rotate(self._heads(part(normed)), (cos, sin))
                for part in (layer.self_attn.q_proj, layer.self_attn.k_proj)
            )
            k = ops.join(static[3 + 2 * i], k)
            v = ops.join(static[4 + 2 * i], self._heads(layer.self_attn.v_proj(normed)))
            attended = layer.self_attn.o_proj(ops.attend_grouped(q, k, v, mask, self._scale))
            hidden = hidden + (attended if gate is None else attended * gate)
            normed, gate = _norm(layer.post_attention_layernorm, hidden, norms)
            out = layer.mlp(normed)
            hidden = hidden + (out if gate is None else out * gate)
        normed, _ = _norm(self._expert.norm, hidden, norms)
        velocity: Tensor = self._model.action_out_proj(normed.float())
        return velocity

    def finish(self, actions: Tensor) -> Tensor:
        """The policy's own action channels: (B, S, m) to (B, S, n)."""
        return actions[:, :, : self._policy.config.action_feature.shape[0]]

    def _with_state(
        self, state: Tensor, keep: Tensor, keys_values: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Let the state token, which sees the prefix and itself, pass the expert; append its keys and values."""
        keep = torch.cat((keep, keep.new_ones(len(keep), 1)), dim=1)
        hidden = self._model.state_proj(state)[:, None].to(self._dtype)
        table = self._table(self._expert, hidden, keep.sum(dim=1, keepdim=True) - 1)
        mask = ops.additive_mask(keep[:, None, None, :], self._dtype)
        extended = []
        for layer, (prefix_k, prefix_v) in zip(self._expert.layers, keys_values, strict=True):
            normed = _plain_norm(layer.input_layernorm, hidden)
            q, k = (
                ops.rotate(self._heads(part(normed)), table)
                for part in (layer.self_attn.q_proj, layer.self_attn.k_proj)
            )
            k = torch.cat((prefix_k, k), dim=1)
            v = torch.cat((prefix_v, self._heads(layer.self_attn.v_proj(normed))), dim=1)
            extended.append((k, v))
            attended = ops.attend_grouped(q, k.transpose(1, 2), v.transpose(1, 2), mask, self._scale)
            hidden = hidden + layer.self_attn.o_proj(attended)
            hidden = hidden + layer.mlp(_plain_norm(layer.post_attention_layernorm, hidden))
        return keep, extended

    def _tables(self, config: Any) -> tuple[Tensor, Tensor, Tensor]:
        """Matrix and bias that embed the noisy actions, and the constants of each step; pi0's contain the bias."""
        model, steps = self._model, self.steps
        width = model.action_in_proj.out_features
        weight = model.action_in_proj.weight
        times = torch.tensor(
            [1.0 + k * (-1.0 / steps) for k in range(steps)], dtype=torch.float32, device=weight.device
        )
        embedded = create_sinusoidal_pos_embedding(
            times, width, config.min_period, config.max_period, device=times.device
        ).float()
        if self._adaptive:
            condition = functional.silu(model.time_mlp_out(functional.silu(model.time_mlp_in(embedded))))
            norms = [
                norm
                for layer in self._expert.layers
                for norm in (layer.input_layernorm, layer.post_attention_layernorm)
            ]
            rows = [norm.dense(condition.to(norm.dense.weight.dtype)).float() for norm in [*norms, self._expert.norm]]
            table = torch.stack(rows, dim=1).unflatten(-1, (3, -1))
            return weight.float(), model.action_in_proj.bias.float(), table
        mixer = model.action_time_mlp_in
        folded, bias = ops.fold(model.action_in_proj, mixer.weight[:, :width], mixer.bias)
        return folded, bias, functional.linear(embedded, mixer.weight[:, width:].float(), bias)

    def _table(self, module: Any, hidden: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Gemma's own cosines and sines for `ops.rotate`."""
        half = self._head_dim // 2
        cos, sin = module.rotary_emb(hidden, positions)
        return ops.signed_table(cos[..., :half].float(), sin[..., :half].float())

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (-1, self._head_dim))
        return heads


def _plain_norm(norm: Any, x: Tensor) -> Tensor:
    """Gemma's RMS norm, whose weight is stored as the difference from 1."""
    normed: Tensor = norm(x)[0]
    return normed


def _norm(norm: Any, x: Tensor, rows: Any) -> tuple[Tensor, Tensor | None]:
    """A norm of the expert with its scale, shift and gate from the table's next row, or plain where there is no table."""
    if rows is None:
        return _plain_norm(norm, x), None
    scale, shift, gate = next(rows).unbind(0)
    normed = functional.rms_norm(x.float(), (norm.dim,), 1.0 + scale, norm.eps) + shift
    return normed.to(x.dtype), gate.to(x.dtype)
