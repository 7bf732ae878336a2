# SPDX-License-Identifier: Apache-2.0

"""What a run is made of: the node's parts, and those who take part in every goal beside the policy."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from vla_common.ticks import Ticker
from vla_core.frames import FrameBuilder
from vla_core.profile import Profile
from vla_msgs.action import RunPolicy

from vla_policy.execution.executor import Plan
from vla_policy.execution.hooks import ChunkWatcher, Gate, Guard, Stop
from vla_policy.node.goals import ActionCommands
from vla_policy.node.loading import PolicyHolder
from vla_policy.node.measuring import Measuring
from vla_policy.node.policy_params import PolicyParams
from vla_policy.node.status import StatusPublisher


class Participant(Protocol):
    """Takes part in every goal, beside the policy: a recorder of rollouts, the watch on the client's heartbeat."""

    def accept(self, goal: RunPolicy.Goal) -> Stop | None:
        """A goal was accepted and nothing moves yet; a `Stop` ends it before anything does."""

    def start(self, goal: RunPolicy.Goal, task: str) -> Stop | None:
        """The policy is about to drive; a `Stop` ends the goal before it does."""

    def finish(self, stop: Stop, result: RunPolicy.Result) -> None:
        """The policy drives no longer; fields of the result may be filled in. Called after each `accept`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """What a run is made of; the node builds it once.

    Attributes:
        params: Parameters of the node.
        profile: Robot profile.
        builder: Takes the streams.
        ticker: Control ticks.
        policy: The loaded policy.
        actions: Commands to the robot; None where the node may send nothing.
        status: Publishes `~/status`.
        measuring: Makes the measures of each run.
        limits: Lays further limits of the robot over those of the profile.
        guards: Reasons to stop, asked at every tick.
        gate: Who drives, if it may be somebody else than the policy.
        watchers: Look at every chunk.
        followed: Gets each plan that is put into force.
        participants: Take part in every goal.
    """

    params: PolicyParams
    profile: Profile
    builder: FrameBuilder
    ticker: Ticker
    policy: PolicyHolder
    actions: ActionCommands | None
    status: StatusPublisher
    measuring: Measuring
    limits: Callable[[Profile], Profile] = lambda profile: profile
    guards: Sequence[Guard] = field(default=())
    gate: Gate | None = None
    watchers: Sequence[ChunkWatcher] = field(default=())
    followed: Callable[[Plan], None] = lambda plan: None
    participants: Sequence[Participant] = field(default=())
