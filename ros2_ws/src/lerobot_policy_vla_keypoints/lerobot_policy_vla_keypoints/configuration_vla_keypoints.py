# SPDX-License-Identifier: Apache-2.0

"""Configuration of the keypoint policy."""

from dataclasses import dataclass, field

from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig
from lerobot.optim.schedulers import CosineAnnealingWithWarmupSchedulerConfig

SMALLEST_IMAGE = 16  # pixels; three halvings leave a map of 2 by 2
GROUPS = 8  # of every group normalisation


@PreTrainedConfig.register_subclass("vla_keypoints")
@dataclass
class VlaKeypointsConfig(PreTrainedConfig):
    """Keypoint policy: per camera convolutions and a spatial soft-arg-max, then a multilayer perceptron.

    Inputs are one image per camera and optionally `observation.state`; the output is `action`. It reads no language and
    no earlier observations.

    Attributes:
        chunk_size: Steps of one predicted chunk.
        n_action_steps: Steps that are executed before the next prediction.
        channels: Channels of the three convolutions, each a multiple of 8.
        keypoints: Keypoints per camera; each is two numbers, x and y in -1 to 1.
        hidden: Width of each of the two hidden layers.
        ema_decay: Decay per step of the moving average of the weights, which predicts; 0: the trained weights predict.
        optimizer_lr: Learning rate of AdamW at its peak.
        optimizer_weight_decay: Weight decay of AdamW.
        optimizer_grad_clip_norm: Norm that gradients are cut to.
        scheduler_warmup_steps: Steps of linear warm-up before the cosine down to zero.

    Raises:
        ValueError: A number that makes no network; the message says which.
    """

    chunk_size: int = 16
    n_action_steps: int = 16
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: {
            "VISUAL": NormalizationMode.MEAN_STD,
            "STATE": NormalizationMode.MEAN_STD,
            "ACTION": NormalizationMode.MEAN_STD,
        }
    )
    channels: tuple[int, int, int] = (32, 64, 64)
    keypoints: int = 32
    hidden: int = 256
    ema_decay: float = 0.99
    optimizer_lr: float = 5e-4
    optimizer_weight_decay: float = 1e-4
    optimizer_grad_clip_norm: float = 1.0
    scheduler_warmup_steps: int = 50

    def __post_init__(self) -> None:
        """Check the numbers."""
        super().__post_init__()
        if self.n_obs_steps != 1:
            raise ValueError(f"vla_keypoints: n_obs_steps {self.n_obs_steps}: it reads one observation; leave it at 1")
        if not 1 <= self.n_action_steps <= self.chunk_size:
            raise ValueError(
                f"vla_keypoints: n_action_steps {self.n_action_steps} must lie between 1 and chunk_size {self.chunk_size}"
            )
        if len(self.channels) != 3 or any(width < GROUPS or width % GROUPS for width in self.channels):
            raise ValueError(f"vla_keypoints: channels {self.channels} must be three positive multiples of {GROUPS}")
        if self.keypoints < 1 or self.hidden < 1:
            raise ValueError(f"vla_keypoints: keypoints {self.keypoints} and hidden {self.hidden} must be at least 1")
        if not 0.0 <= self.ema_decay < 1.0:
            raise ValueError(f"vla_keypoints: ema_decay {self.ema_decay} must be at least 0 and less than 1")

    def validate_features(self) -> None:
        """Check what the dataset offers.

        Raises:
            ValueError: No image, an image of a size that cannot be halved three times, or no action.
        """
        if not self.image_features:
            raise ValueError(
                "vla_keypoints: the dataset has no camera image (observation.images.…); it learns from images"
            )
        for name, feature in self.image_features.items():
            if len(feature.shape) != 3 or feature.shape[0] != 3 or min(feature.shape[1:]) < SMALLEST_IMAGE:
                raise ValueError(
                    f"vla_keypoints: {name} has shape {tuple(feature.shape)}; it needs (3, height, width) with at least "
                    f"{SMALLEST_IMAGE} pixels each way"
                )
        if self.action_feature is None:
            raise ValueError("vla_keypoints: the dataset has no 'action'")

    def get_optimizer_preset(self) -> AdamWConfig:
        """AdamW with the numbers above."""
        return AdamWConfig(
            lr=self.optimizer_lr,
            weight_decay=self.optimizer_weight_decay,
            grad_clip_norm=self.optimizer_grad_clip_norm,
        )

    def get_scheduler_preset(self) -> CosineAnnealingWithWarmupSchedulerConfig:
        """Warm-up, then a cosine to zero at the last step."""
        return CosineAnnealingWithWarmupSchedulerConfig(num_warmup_steps=self.scheduler_warmup_steps)

    @property
    def observation_delta_indices(self) -> None:
        """One observation, the present one."""
        return

    @property
    def action_delta_indices(self) -> list[int]:
        """The chunk begins at the observation."""
        return list(range(self.chunk_size))

    @property
    def reward_delta_indices(self) -> None:
        """No rewards."""
        return
