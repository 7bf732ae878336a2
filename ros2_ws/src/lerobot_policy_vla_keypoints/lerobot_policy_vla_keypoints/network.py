# SPDX-License-Identifier: Apache-2.0

"""The network of the keypoint policy: images to keypoints, keypoints and state to a chunk of actions.

The spatial soft-arg-max turns each feature map into one point in the image. Levine et al., "End-to-End Training of Deep
Visuomotor Policies", JMLR 17 (2016), section 5.1, have its form; Finn et al., "Deep Spatial Autoencoders for Visuomotor
Learning", ICRA 2016, section IV, the learnt temperature.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from lerobot_policy_vla_keypoints.configuration_vla_keypoints import GROUPS


def spatial_soft_arg_max(features: Tensor, temperature: Tensor | float = 1.0) -> Tensor:
    """Expected position of each feature map, weighted by the softmax of its values over the image.

    Computed in float32 whatever the input: half precision knows only 256 positions from -1 to 1.

    Args:
        features: (B, K, H, W).
        temperature: Above 0; smaller is nearer to the position of the maximum.

    Returns:
        (B, K, 2): x from -1 (centre of the left column) to 1 (of the right one), y from -1 (top row) to 1 (bottom row);
        0 where there is a single column or row.
    """
    _, _, height, width = features.shape
    with torch.autocast(features.device.type, enabled=False):
        weights = torch.softmax(features.float().flatten(2) / temperature, dim=-1).unflatten(-1, (height, width))
        x = (weights.sum(-2) * _axis(width, weights)).sum(-1)
        y = (weights.sum(-1) * _axis(height, weights)).sum(-1)
    return torch.stack([x, y], dim=-1)


def _axis(count: int, like: Tensor) -> Tensor:
    if count == 1:
        return like.new_zeros(1)
    return torch.linspace(-1.0, 1.0, count, device=like.device)


class KeypointEncoder(nn.Module):
    """One camera: three convolutions that halve the image, then one feature map per keypoint."""

    def __init__(self, channels: Sequence[int], keypoints: int) -> None:
        """See `VlaKeypointsConfig`."""
        super().__init__()
        layers: list[nn.Module] = []
        for index, (inside, outside) in enumerate(pairwise((3, *channels))):
            kernel = 5 if index == 0 else 3
            layers += [
                nn.Conv2d(inside, outside, kernel, stride=2, padding=kernel // 2),
                nn.GroupNorm(GROUPS, outside),
                nn.SiLU(),
            ]
        self.convolutions = nn.Sequential(*layers, nn.Conv2d(channels[-1], keypoints, 1))
        self.log_temperature = nn.Parameter(torch.zeros(()))

    def forward(self, image: Tensor) -> Tensor:
        """Keypoints (B, K, 2) of images (B, 3, H, W)."""
        return spatial_soft_arg_max(self.convolutions(image), self.log_temperature.exp())


class KeypointNetwork(nn.Module):
    """All cameras and the state to one chunk of normalised actions.

    Args:
        cameras: Number of cameras; each has an encoder of its own.
        state_size: Length of the state; 0 without one.
        action_size: Length of an action.
        chunk_size: Steps of a chunk.
        channels: See `VlaKeypointsConfig`; so are the following ones.
    """

    def __init__(
        self,
        *,
        cameras: int,
        state_size: int,
        action_size: int,
        chunk_size: int,
        channels: Sequence[int],
        keypoints: int,
        hidden: int,
    ) -> None:
        super().__init__()
        self.chunk = (chunk_size, action_size)
        self.encoders = nn.ModuleList(KeypointEncoder(channels, keypoints) for _ in range(cameras))
        self.head = nn.Sequential(
            nn.Linear(cameras * keypoints * 2 + state_size, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, chunk_size * action_size),
        )

    def forward(self, images: Sequence[Tensor], state: Tensor | None) -> Tensor:
        """Chunk (B, chunk_size, action_size).

        Args:
            images: (B, 3, H, W) per camera, normalised.
            state: (B, state_size), normalised; None without one.
        """
        points = [encoder(image).flatten(1) for encoder, image in zip(self.encoders, images, strict=True)]
        inputs = torch.cat([*points, *([] if state is None else [state])], dim=-1)
        chunk: Tensor = self.head(inputs).unflatten(-1, self.chunk)
        return chunk
