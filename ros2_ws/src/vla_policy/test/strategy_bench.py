# SPDX-License-Identifier: Apache-2.0

"""A strategy on a bench: the executor alone with a stochastic policy, a lagging arm and an injected latency."""

from dataclasses import dataclass, field

import numpy as np
from policy_fixtures import small_profile
from vla_core.frames import Frame
from vla_policy.execution.executor import ChunkExecutor
from vla_policy.execution.latency import LatencyEstimate
from vla_policy.execution.measures_motion import Motion
from vla_policy.execution.strategies import make_strategy
from vla_policy.policies.scripted import ScriptedOptions, ScriptedRunner

FPS, CHUNK, NOISE = 30, 50, 0.02
TICK_S, ARM_LAG_S = 0.02, 0.05
S = 1_000_000_000


class GuidedRunner(ScriptedRunner):
    """The same policy, guided: it repeats the frozen steps but for a tenth of its own noise, then lets go linearly."""

    guidable = True

    def infer(self, frame, task, prefix=None):
        chunk = super().infer(frame, task)
        if prefix is None:
            return chunk
        k = np.arange(len(prefix.values))
        weight = 0.9 * np.clip(1.0 - (k - prefix.frozen) / 10.0, 0.0, 1.0)[:, None]
        chunk.values[: len(k)] = weight * prefix.values + (1.0 - weight) * chunk.values[: len(k)]
        return chunk


@dataclass
class Outcome:
    """What a run on the bench showed; shares and ratios."""

    held: float
    seam_jump: float
    error: float
    acceleration_p99: float
    chunks: int
    skipped: list = field(default_factory=list)
    path: list = field(default_factory=list)
    grippers: list = field(default_factory=list)


def run(strategy, latency_s, seed=0, *, duration_s=8.0, noise=NOISE, **options):
    """One run; `options` go to the executor."""
    profile = small_profile(**{"fps: 10": f"fps: {FPS}"})
    scripted = ScriptedOptions(chunk=CHUNK, noise=noise, gripper_period=2.0)
    made = make_strategy(strategy)
    runner = (GuidedRunner if made.guided else ScriptedRunner)(profile, scripted, seed=seed)
    executor = ChunkExecutor(
        profile, n_action_steps=CHUNK, latency=LatencyEstimate(latency_s, fixed=True), strategy=made, **options
    )
    q, gripper = np.array([0.1, 0.2]), np.array([0.0])
    motion, held, ticks, errors, skipped, path, grippers = Motion(FPS), 0, 0, [], [], [], []
    answer = usable_ns = None
    chunks = 0
    for i in range(round(duration_s / TICK_S)):
        t_ns = round(i * TICK_S * S)
        present = frame(t_ns, q, gripper)
        if answer is not None and t_ns >= usable_ns:
            observed, chunk = answer
            plan = executor.prepare(chunk, observed, t_ns, present)
            assert plan.report.ok, plan.report.violations
            executor.adopt(plan, t_ns)
            skipped.append(plan.skipped)
            chunks, answer = chunks + 1, None
        if answer is None and executor.wants_observation(t_ns):
            answer = present, runner.infer(present, "", executor.prefix(present, t_ns))
            usable_ns = t_ns + round(latency_s * S)
        target = executor.arm_targets(t_ns).get("arm", q)
        q = q + (target - q) * (TICK_S / ARM_LAG_S)
        if chunks:
            resting = executor.exhausted(t_ns)
            motion.add(t_ns, target, chunks, resting=resting)
            held, ticks = held + resting, ticks + 1
            errors.append(target - runner.reference.at(np.array([t_ns]))["arm"][0])
            path.append((t_ns, target))
            grippers.append((t_ns, float(executor.gripper_targets(t_ns)["gripper"][0])))
    motion.gap()
    return Outcome(
        held=held / ticks,
        seam_jump=motion.seam_jump,
        error=float(np.sqrt(np.mean(np.square(errors)))),
        acceleration_p99=motion.accelerations.percentile(99),
        chunks=chunks,
        skipped=skipped,
        path=path,
        grippers=grippers,
    )


def frame(t_ns, arm, gripper):
    """An observation without images, of the arm (2,) [rad] and the finger (1,) [rad]."""
    state = np.concatenate([arm, gripper / 0.8])
    joints = {"arm": arm.copy(), "gripper": gripper.copy()}
    return Frame(
        t_ns=t_ns, state=state.astype(np.float32), state64=state, images={}, action=None, ages_s={}, joints=joints
    )
