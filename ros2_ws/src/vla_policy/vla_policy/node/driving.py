# SPDX-License-Identifier: Apache-2.0

"""Puts together what decides who drives in a run, and what records it."""

from dataclasses import replace

from vla_common.run import ManagedNode
from vla_core.profile import Profile

from vla_policy.execution.stop_detection import StopDetector, stop_rule
from vla_policy.node.correction_policy import with_correction
from vla_policy.node.loading import PolicyHolder
from vla_policy.node.modes import E2E, ModeOptions, Modes, check_mode
from vla_policy.node.policy_params import PolicyParams
from vla_policy.node.rollout_recorder import RolloutRecorder, RunIdentity
from vla_policy.node.skills_client import SkillsClient
from vla_policy.node.status import StatusPublisher
from vla_policy.node.takeover import Takeover
from vla_policy.policies.registry import find_policy
from vla_policy.policies.runner import PolicyFactory


def policy_factory(params: PolicyParams, given: PolicyFactory | None) -> PolicyFactory:
    """What loads the node's policy, and the correction policy next to it where there is one.

    Args:
        params: Parameters of the node.
        given: Loads in place of the policy that the parameters name.

    Raises:
        ModeError: parameters do not go together.
        CheckpointError: no such policy.
    """
    check_mode(params.mode, skill=params.skill, correction_checkpoint=params.correction_checkpoint)
    factory = given or find_policy(params.policy)
    return with_correction(factory, params.correction_checkpoint) if params.correction_checkpoint else factory


class Driving:
    """What a policy node has of it.

    Attributes:
        modes: Guard, gate, watcher and participant of every run.
        recorder: Participant of every run; after `modes`, whose state it writes down.
    """

    def __init__(
        self, node: ManagedNode, params: PolicyParams, profile: Profile, policy: PolicyHolder, status: StatusPublisher
    ) -> None:
        """Offer the services and make the clients.

        Raises:
            ProfileError: the profile has no arm or no gripper to detect a stop signal by.
        """
        status.mode = params.mode
        self._skills: SkillsClient | None = None
        detector = correction_detector = None
        if params.mode != E2E:
            self._skills = SkillsClient(node, lockstep=params.lockstep)
            rule = stop_rule(
                params.stop_preset,
                steps=params.stop_steps,
                distance=params.stop_distance,
                gripper=params.stop_gripper,
            )
            detector = StopDetector(profile, rule)
            correction_rule = replace(rule, steps=params.correction_stop_steps or rule.steps)
            correction_detector = StopDetector(profile, correction_rule)
        self.recorder = RolloutRecorder(
            node,
            modes=lambda: self.modes,
            identity=lambda: RunIdentity(
                policy=policy.description,
                checkpoint=policy.source,
                strategy=status.strategy,
                profile_sha256=profile.sha256,
                seed=params.seed,
            ),
            always=params.record_eval,
            dry_run=params.dry_run,
            lockstep=params.lockstep,
        )
        self.modes = Modes(
            ModeOptions(
                mode=params.mode,
                skill=params.skill,
                max_attempts=params.max_attempts,
                server_timeout_s=params.start_timeout_s,
            ),
            person=Takeover(
                node,
                topic=params.takeover_topic,
                takeover_button=params.takeover_button,
                handback_button=params.handback_button,
            ),
            skills=self._skills,
            detector=detector,
            correction_detector=correction_detector,
            runner=lambda: policy.inference.runner,
            announce=self.recorder.announce,
            log=node.get_logger().info,
            dry_run=params.dry_run,
        )
        status.interventions = lambda: self.modes.interventions
        status.driver = lambda: self.modes.state

    def close(self) -> None:
        """Destroy the client."""
        if self._skills is not None:
            self._skills.close()
