# SPDX-License-Identifier: Apache-2.0

"""The keypoint policy as LeRobot's training and inference use it."""

from collections import deque
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import ACTION, OBS_STATE
from torch import Tensor, nn

from lerobot_policy_vla_keypoints.configuration_vla_keypoints import VlaKeypointsConfig
from lerobot_policy_vla_keypoints.network import KeypointNetwork

IS_PAD = f"{ACTION}_is_pad"
_EMA_WARM_UP = 10.0  # after n steps the average looks back at most (n + 1) of (n + 10)


class VlaKeypointsPolicy(PreTrainedPolicy):
    """Keypoints of every camera and the state to a chunk of actions, by a mean absolute error.

    `model` is what is trained; with `ema_decay` above 0 a moving average of its weights, `average`, predicts
    (Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992).
    """

    config_class = VlaKeypointsConfig
    name = "vla_keypoints"

    def __init__(self, config: VlaKeypointsConfig, **_: Any) -> None:
        """Build the network.

        Args:
            config: With the features of the dataset.
            _: What LeRobot hands to every policy (statistics, description of the dataset) and this one does not need.

        Raises:
            ValueError: See `VlaKeypointsConfig.validate_features`.
        """
        super().__init__(config)
        config.validate_features()
        assert config.action_feature is not None  # `validate_features` has looked
        state = config.robot_state_feature
        self.model = KeypointNetwork(
            cameras=len(config.image_features),
            state_size=0 if state is None else state.shape[0],
            action_size=config.action_feature.shape[0],
            chunk_size=config.chunk_size,
            channels=config.channels,
            keypoints=config.keypoints,
            hidden=config.hidden,
        )
        self.average: KeypointNetwork | None = None
        if config.ema_decay > 0.0:
            self.average = deepcopy(self.model).requires_grad_(False)
            self.register_buffer("updates", torch.zeros((), dtype=torch.int64))
        self.reset()

    def get_optim_params(self) -> Iterable[nn.Parameter]:  # type: ignore[override]  # LeRobot takes any parameters
        """What is trained."""
        return self.model.parameters()

    def reset(self) -> None:
        """Forget the actions that are left of the last chunk."""
        self._queue: deque[Tensor] = deque(maxlen=self.config.n_action_steps)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the trained weights; LeRobot's training calls it after every optimiser step."""
        if self.average is None:
            return
        self.updates += 1
        count = float(self.updates)
        decay = min(self.config.ema_decay, (1.0 + count) / (_EMA_WARM_UP + count))
        for mean, value in zip(self.average.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)

    def forward(self, batch: dict[str, Tensor], reduction: str = "mean") -> tuple[Tensor, dict[str, float]]:
        """Mean absolute error of the normalised actions; padded steps do not count.

        In training it is that of the trained weights, in evaluation that of those that predict.

        Args:
            batch: Images (B, 3, H, W), state (B, S), `action` (B, chunk_size, A) and `action_is_pad` (B, chunk_size).
            reduction: "mean", or "none" for one loss per sample (B,), as LeRobot's sample weighting asks for.

        Raises:
            ValueError: Another reduction.
        """
        if reduction not in ("mean", "none"):
            raise ValueError(f"vla_keypoints: reduction '{reduction}' is not one of mean, none")
        error = F.l1_loss(self._predict(batch), batch[ACTION], reduction="none").mean(-1)
        valid = (~batch[IS_PAD]).to(error.dtype) if IS_PAD in batch else torch.ones_like(error)
        if reduction == "none":
            losses = (error * valid).sum(-1) / valid.sum(-1).clamp_min(1.0)
            return losses, {"l1_loss": float(losses.detach().mean())}
        loss = (error * valid).sum() / valid.sum().clamp_min(1.0)
        return loss, {"l1_loss": float(loss.detach())}

    @torch.no_grad()
    def predict_action_chunk(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """Chunk (B, chunk_size, A) of normalised actions."""
        self.eval()
        return self._predict(batch)

    @torch.no_grad()
    def select_action(self, batch: dict[str, Tensor], **_: Any) -> Tensor:
        """The next action (B, A), normalised; predicts when `n_action_steps` actions are used up."""
        if not self._queue:
            chunk = self.predict_action_chunk(batch)
            self._queue.extend(chunk[:, : self.config.n_action_steps].transpose(0, 1))
        return self._queue.popleft()

    def _predict(self, batch: dict[str, Tensor]) -> Tensor:
        network = self.model if self.training or self.average is None else self.average
        images = [batch[name] for name in self.config.image_features]
        state = None if self.config.robot_state_feature is None else batch[OBS_STATE]
        chunk: Tensor = network(images, state)
        return chunk
