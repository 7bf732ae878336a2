# SPDX-License-Identifier: Apache-2.0

"""Guidance of flow-matching policies: a new chunk that continues what the arm is already doing.

Real-time chunking (Black, Galliker, Levine: "Real-Time Execution of Action Chunking Flow Policies", arXiv:2506.07339)
treats the steps that will be over when the chunk arrives as given, and pulls the steps after them towards the running
plan, less and less up to a horizon. LeRobot has it as keyword arguments of `predict_action_chunk`; here they are made from
a `Prefix`. Rows beyond the prefix are left alone: nothing is padded up to the horizon.
"""

from typing import Any

import torch
from lerobot.configs.types import RTCAttentionSchedule
from lerobot.policies.rtc.configuration_rtc import RTCConfig
from torch import Tensor
from vla_core.errors import CheckpointError

from vla_policy.policies.runner import LoadRequest, Prefix

GUIDABLE = ("smolvla", "pi0", "pi05")


def check_guidable(policy_type: str, where: str) -> None:
    """Refuse a policy that cannot continue a prefix.

    Raises:
        CheckpointError: names the policies that can.
    """
    if policy_type not in GUIDABLE:
        raise CheckpointError(
            f"{where}: a policy of type '{policy_type}' cannot be guided by the running plan (strategy:=rtc); those that "
            f"can are {', '.join(GUIDABLE)}. Use another strategy, for example strategy:=crossfade."
        )


def enable_guidance(policy: Any, request: LoadRequest) -> None:
    """Give a loaded policy LeRobot's guidance; calls without a prefix stay as they are.

    Raises:
        CheckpointError: `rtc_schedule` is unknown or `rtc_max_guidance` is not positive.
    """
    try:
        policy.config.rtc_config = RTCConfig(
            enabled=True,
            prefix_attention_schedule=RTCAttentionSchedule[request.rtc_schedule.upper()],
            max_guidance_weight=request.rtc_max_guidance,
            execution_horizon=max(1, request.rtc_horizon),
        )
    except (KeyError, ValueError) as error:
        schedules = ", ".join(schedule.name.lower() for schedule in RTCAttentionSchedule)
        raise CheckpointError(
            f"guidance: rtc_schedule '{request.rtc_schedule}' (one of {schedules}), rtc_max_guidance "
            f"{request.rtc_max_guidance:g} (above 0): {error}"
        ) from error
    policy.init_rtc_processor()


def guidance_arguments(prefix: Prefix, normalised: Tensor, *, chunk_size: int, horizon: int) -> dict[str, Any]:
    """Keyword arguments of LeRobot's `predict_action_chunk`.

    Args:
        prefix: What the chunk is to continue.
        normalised: Its values (1, T, m) in the policy's numbers.
        chunk_size: Steps of the policy's chunks; rows of the prefix beyond it mean nothing to the policy.
        horizon: Steps after the frozen ones over which the guidance fades; 0: as far as the prefix goes.

    Returns:
        `inference_delay`, `prev_chunk_left_over` (1, T', m) with T' <= chunk_size, and `execution_horizon` <= T'.
    """
    rows = normalised[:, :chunk_size]
    known = rows.shape[1]
    frozen = min(prefix.frozen, known)
    return {
        "inference_delay": frozen,
        "prev_chunk_left_over": rows.to(torch.float32),
        "execution_horizon": min(frozen + horizon, known) if horizon else known,
    }
