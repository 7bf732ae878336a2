# SPDX-License-Identifier: Apache-2.0

"""SmolVLA's inference with everything that the denoising steps share computed once (arXiv:2506.01844).

The weights and the image preparation are those of the loaded LeRobot policy (lerobot 0.6, `policies/smolvla`). What
differs is the order of the work: per observation the vision tower sees all cameras in one call, the language model stops
at the last keys and values that somebody reads, and the action expert's keys and values of its cross-attention layers are
projected once; per step only the 50 action tokens run. Time embeddings, rotary tables and masks are tables.
"""

from collections.abc import Mapping
from typing import Any

import torch
from lerobot.policies.common.vla_utils import create_sinusoidal_pos_embedding
from lerobot.utils.constants import OBS_LANGUAGE_ATTENTION_MASK, OBS_LANGUAGE_TOKENS
from torch import Tensor, nn
from torch.nn import functional
from vla_core.errors import CheckpointError

from vla_policy.policies import accelerated_ops as ops

ROTARY_BASE = 10_000.0
Static = tuple[Tensor, ...]


class SmolVLACore:
    """The stages of one SmolVLA inference as functions of tensors.

    Attributes:
        steps: Denoising steps.
        times: (steps, width) float32: what step k adds to the action embedding.
        chunk_shape: (chunk, action channels) of the noise.
    """

    def __init__(self, policy: Any, dtype: torch.dtype) -> None:
        """Read the policy's layers and make the tables.

        Args:
            policy: A loaded `SmolVLAPolicy`; its transformers are converted to `dtype` in place.
            dtype: float32 or bfloat16.

        Raises:
            CheckpointError: the policy is configured so that its stock inference is another computation.
        """
        config, model = policy.config, policy.model
        if not config.use_cache:
            raise CheckpointError(
                "accelerate: this SmolVLA has use_cache false, with which its steps share nothing. Use accelerate:=false."
            )
        joint = model.vlm_with_expert
        vlm = joint.get_vlm_model()
        self._policy = policy
        self._dtype = dtype
        self._positions = _position_ids(vlm.vision_model, config)
        joint.to(dtype)
        self._vision, self._connector, self._text = vlm.vision_model, vlm.connector, vlm.text_model
        self._state_proj = model.state_proj
        self._special = _special_tokens(model) if model.add_image_special_tokens else None
        self._layers = _pair_layers(joint)
        self._norm = joint.lm_expert.norm
        self._head_dim = int(joint.config.text_config.head_dim)
        self._groups = joint.num_attention_heads // joint.num_key_value_heads
        self._out = _linear32(model.action_out_proj)
        self._time_out = _linear32(model.action_time_mlp_out)
        self.steps = int(config.num_steps)
        self.chunk_shape = (int(config.chunk_size), int(config.max_action_dim))
        self._in_weight, self.times = _time_table(model, config, self.steps)
        device = self.times.device
        chunk = torch.arange(self.chunk_shape[0], device=device)[None]
        self._lengths = ops.wavelengths(self._head_dim, ROTARY_BASE, device)
        self._cross_table = ops.rotary_table(chunk, self._lengths)
        self._causal = chunk[0][None, :] <= chunk[0][:, None]

    def inputs(self, batch: Mapping[str, Tensor]) -> Static:
        """Prepare a preprocessed batch.

        Returns:
            Images (C, B, 3, H, W) in -1…1, real cameras (B, C), tokens (B, L), valid tokens (B, L), state (B, n). Stand-ins
            for missing cameras and padding tokens, which nothing attends to, are left out.
        """
        prepared = self._policy._prepare_batch(dict(batch))
        images, masks = self._policy.prepare_images(prepared)
        if self._special is None:
            count = ops.present_cameras(self._policy.config, prepared)
            images, masks = images[:count], masks[:count]
        pixels, real = ops.stack_images(images, masks)
        tokens, valid = ops.trim(prepared[OBS_LANGUAGE_TOKENS], prepared[OBS_LANGUAGE_ATTENTION_MASK])
        return pixels, real, tokens, valid, self._policy.prepare_state(prepared)

    def vision(self, pixels: Tensor) -> Tensor:
        """Image tokens: (C, B, 3, H, W) to (C, B, n, width)."""
        # One camera at a time fits a CPU's cache better; a GPU is filled better by all at once.
        calls = pixels.split(1) if pixels.device.type == "cpu" else (pixels,)
        return torch.cat([self._see(part.flatten(0, 1)).unflatten(0, part.shape[:2]) for part in calls])

    def _see(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, n, width)."""
        embeddings = self._vision.embeddings
        patches = embeddings.patch_embedding(pixels.to(self._dtype)).flatten(2).transpose(1, 2)
        hidden = patches + embeddings.position_embedding(self._positions)
        hidden = self._vision.encoder(inputs_embeds=hidden, attention_mask=None).last_hidden_state
        tokens: Tensor = self._connector(self._vision.post_layernorm(hidden))
        return tokens * torch.tensor(tokens.shape[-1] ** 0.5, dtype=tokens.dtype)

    def prefix(self, images: Tensor, real: Tensor, tokens: Tensor, valid: Tensor, state: Tensor) -> Static:
        """Everything that the denoising steps read, from one observation.

        Args:
            images: From `vision`.
            real: Real cameras (B, C); this and the rest as `inputs` gives them.
            tokens: (B, L).
            valid: (B, L).
            state: (B, n).

        Returns:
            Mask of the self-attention layers (B, 1, G * S, P + S), of the cross-attention layers (B, 1, 1, P), cosines and
            sines of the suffix (B, S, 1, D), then keys and values of each expert layer (B, K, P or P + S, D).
        """
        hidden, keep = self._embed(images, real, tokens, valid, state)
        length, chunk = keep.shape[1], self.chunk_shape[0]
        # The state token is the last one; images and text do not look at it.
        looked_at = keep[:, None, :].repeat(1, length, 1)
        looked_at[:, :-1, -1].fill_(False)
        mask = ops.additive_mask(looked_at[:, None], self._dtype)
        table = ops.rotary_table(ops.positions_of(keep), self._lengths)
        static: list[Tensor] = []
        last = max(i for i, (_, expert, _) in enumerate(self._layers) if expert is not None)
        for i, (layer, expert, crosses) in enumerate(self._layers[: last + 1]):
            normed = _rms(layer.input_layernorm, hidden)
            k = ops.rotate(self._heads(layer.self_attn.k_proj(normed)), table)
            v = self._heads(layer.self_attn.v_proj(normed))
            if expert is not None:
                static += self._expert_view(expert, crosses, k, v)
            if i < last:
                q = ops.rotate(self._heads(layer.self_attn.q_proj(normed)), table)
                hidden = _finish(layer, hidden, ops.attend_prefix(q, k, v, mask, self._head_dim**-0.5))
        whole = torch.cat((keep[:, None, :].expand(-1, chunk, -1), self._causal.expand(len(keep), -1, -1)), dim=2)
        suffix = keep.sum(dim=1, keepdim=True) + torch.arange(chunk, device=keep.device)
        return (
            ops.group_rows(ops.additive_mask(whole, self._dtype), self._groups),
            ops.additive_mask(keep[:, None, None, :], self._dtype),
            *ops.rotary_table(suffix, self._lengths),
            *static,
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
        self_mask, cross_mask, cos, sin = static[:4]
        keys_values = iter(static[4:])
        hidden = self._time_out(functional.silu(functional.linear(x, self._in_weight, time))).to(self._dtype)
        for _, expert, crosses in self._layers:
            if expert is None:
                continue
            normed = _rms(expert.input_layernorm, hidden)
            q = self._heads(expert.self_attn.q_proj(normed))
            k, v = next(keys_values), next(keys_values)
            if crosses:
                q, mask = ops.rotate(q, self._cross_table), cross_mask
            else:
                q, mask = ops.rotate(q, (cos, sin)), self_mask
                k = ops.join(k, ops.rotate(self._heads(expert.self_attn.k_proj(normed)), (cos, sin)))
                v = ops.join(v, self._heads(expert.self_attn.v_proj(normed)))
            hidden = _finish(expert, hidden, ops.attend_grouped(q, k, v, mask, self._head_dim**-0.5))
        out: Tensor = self._out(_rms(self._norm, hidden).float())
        return out

    def finish(self, actions: Tensor) -> Tensor:
        """The policy's own action channels, in its action space: (B, S, m) to (B, S, n)."""
        config = self._policy.config
        actions = actions[:, :, : config.action_feature.shape[0]]
        if config.adapt_to_pi_aloha:
            actions = self._policy._pi_aloha_encode_actions(actions)
        return actions

    def _embed(
        self, images: Tensor, real: Tensor, tokens: Tensor, valid: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Prefix tokens (B, P, width) and which of them count (B, P)."""
        batch = len(tokens)
        parts: list[Tensor] = []
        keep: list[Tensor] = []

        def add(part: Tensor, counts: Tensor) -> None:
            parts.append(part.to(self._dtype))
            keep.append(counts.expand(batch, part.shape[1]))

        always = torch.ones(batch, 1, dtype=torch.bool, device=tokens.device)
        for camera, image in enumerate(images):
            if self._special is not None:
                add(self._special[0].expand(batch, -1, -1), always)
            add(image, real[:, camera : camera + 1])
            if self._special is not None:
                add(self._special[1].expand(batch, -1, -1), always)
        words = self._text.get_input_embeddings()(tokens)
        add(words * words.shape[-1] ** 0.5, valid)
        add(self._state_proj(state.to(self._state_proj.weight.dtype))[:, None], always)
        return torch.cat(parts, dim=1), torch.cat(keep, dim=1)

    def _expert_view(self, expert: nn.Module, crosses: bool, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """A language-model layer's keys and values as the expert's layer reads them in every step."""
        if not crosses:
            return ops.with_room(k, self.chunk_shape[0]), ops.with_room(v, self.chunk_shape[0])
        attention: Any = expert.self_attn
        keys, values = attention.k_proj(k.flatten(2)), attention.v_proj(v.flatten(2))
        return (
            self._heads(keys).transpose(1, 2).contiguous(),
            self._heads(values).transpose(1, 2).contiguous(),
        )

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(-1, (-1, self._head_dim))
        return heads


def _rms(norm: Any, x: Tensor) -> Tensor:
    return functional.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)


def _finish(layer: Any, hidden: Tensor, attended: Tensor) -> Tensor:
    """Second half of a Llama block: output projection, residual, MLP, residual."""
    hidden = hidden + layer.self_attn.o_proj(attended)
    out: Tensor = hidden + layer.mlp(_rms(layer.post_attention_layernorm, hidden))
    return out


def _linear32(layer: nn.Linear) -> nn.Linear:
    """The layer in float32: itself if it is, else a copy."""
    if layer.weight.dtype == torch.float32:
        return layer
    copy = nn.Linear(layer.in_features, layer.out_features, device=layer.weight.device)
    copy.load_state_dict(layer.state_dict())
    return copy


def _pair_layers(joint: Any) -> list[tuple[Any, Any, bool]]:
    """Per language-model layer: the layer, the expert's layer or None, and whether the expert crosses over there."""
    texts, experts = joint.get_model_layers([joint.get_vlm_model().text_model, joint.lm_expert])
    every = joint.self_attn_every_n_layers
    cross = "cross" in joint.attention_mode
    return [
        (text, expert, cross and not (every > 0 and i % every == 0))
        for i, (text, expert) in enumerate(zip(texts, experts, strict=True))
    ]


def _position_ids(vision: Any, config: Any) -> Tensor:
    """The patch positions that the stock embedding derives for an image of the policy's size, (1, patches)."""
    if config.resize_imgs_with_padding is None:
        raise CheckpointError(
            "accelerate: this SmolVLA has resize_imgs_with_padding null, so its images have no fixed size. "
            "Use accelerate:=false."
        )
    width, height = config.resize_imgs_with_padding
    weight, patch = vision.embeddings.patch_embedding.weight, vision.patch_size
    seen: list[Tensor] = []
    hook = vision.embeddings.position_embedding.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.no_grad():
            vision.embeddings(
                pixel_values=torch.zeros(1, 3, height, width, dtype=weight.dtype, device=weight.device),
                patch_attention_mask=weight.new_ones(1, height // patch, width // patch).bool(),
            )
    finally:
        hook.remove()
    return seen[0]


def _special_tokens(model: Any) -> tuple[Tensor, Tensor]:
    """Embeddings of the tokens before and behind each image, (1, n, width)."""
    joint = model.vlm_with_expert
    device = joint.vlm.device
    with torch.no_grad():
        start = joint.embed_language_tokens(model.global_image_start_token.to(device))[None]
        end = joint.embed_language_tokens(model.image_end_token.to(device))[None]
    return start, end


@torch.no_grad()
def _time_table(model: Any, config: Any, steps: int) -> tuple[Tensor, Tensor]:
    """The matrix that embeds the noisy actions, and what each step's time adds to it.

    The stock model concatenates the embedded action with the embedded time and applies a linear layer; the layer's action
    half after the embedding is one matrix, its time half a constant per step.
    """
    mixer = model.action_time_mlp_in
    width = model.action_in_proj.out_features
    weight, bias = ops.fold(model.action_in_proj, mixer.weight[:, :width], mixer.bias)
    times = torch.tensor([1.0 + k * (-1.0 / steps) for k in range(steps)], dtype=torch.float32, device=weight.device)
    embedded = create_sinusoidal_pos_embedding(times, width, config.min_period, config.max_period, device=times.device)
    return weight, functional.linear(embedded.float(), mixer.weight[:, width:].float(), bias)
