# SPDX-License-Identifier: Apache-2.0

"""Two policies for mode:=planner that know where the block of one scene is: one that fails to grasp it, one that corrects."""

import numpy as np
from vla_core.actions import ActionMap
from vla_core.chunks import ActionChunk
from vla_core.profile import load_profile
from vla_policy.policies.runner import Loaded
from vla_sim import constants as c
from vla_sim.expert import Expert
from vla_sim.tasks import start_state

SEED = 5
OPENING_S = 0.8


class Scripted:
    """A policy that knows where the block is; it keeps predicting its last action, as one trained with stop frames does."""

    guidable = False
    n_action_steps = chunk_size = 12

    def __init__(self, profile, name):
        self.profile, self.description = profile, name
        self.map = ActionMap(profile)
        self.plan = None

    def reset(self):
        self.plan = None

    def close(self):
        pass

    def targets(self, t):
        """Arm (6,) and gripper [rad] at a time since the begin."""
        raise NotImplementedError

    def infer(self, frame, task, prefix=None):
        if self.plan is None:
            self.start_ns, self.plan = frame.t_ns, self.make(np.array(frame.joints["arm"]))
        dt_s = 1.0 / self.profile.fps
        times = (frame.t_ns - self.start_ns) * 1e-9 + dt_s * np.arange(self.chunk_size)
        arm, gripper = zip(*(self.targets(t) for t in times), strict=True)
        values = self.map.encode({"arm": np.array(arm), "gripper": np.array(gripper)[:, None]}, frame.state64)
        return ActionChunk(t0_ns=frame.t_ns, dt_s=dt_s, values=values)


class Approach(Scripted):
    """Goes half way down to the block with the gripper open, then closes it at once: the stop signal."""

    def make(self, q):
        return Expert("lift", 0, noise=False).grasp(q, start_state(SEED).block)

    def targets(self, t):
        return self.plan.arm(min(t, 0.8)), 0.0 if t < 1.2 else c.KNUCKLE_CLOSED


class Correction(Scripted):
    """Opens the gripper, grasps the block and holds it."""

    def make(self, q):
        return Expert("lift", 0, noise=False).grasp(q, start_state(SEED).block)

    def targets(self, t):
        return self.plan.arm(t - OPENING_S), self.plan.gripper(t - OPENING_S)


RUNNERS = {"approach": Approach, "correction": Correction}


def load(request):
    """Factory of a policy with the checkpoints `approach` and `correction`."""
    profile, name = load_profile(request.profile), request.checkpoint
    return Loaded(runner=RUNNERS[name](profile, name), profile=profile, source=name)
