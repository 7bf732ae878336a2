# SPDX-License-Identifier: Apache-2.0

"""Two simulated arms that are driven towards each other: the safety filter stops them apart, and without it they touch."""

from pathlib import Path

import numpy as np
import pytest
from vla_core.arm_distance import ArmCapsules, line_distances
from vla_core.kinematics import forward
from vla_core.profile import load_profile
from vla_core.safety import DISTANCE, SafetyFilter
from vla_sim.cell import Cell
from vla_sim.stations import stage_of
from vla_sim.world import World

ROBOTS = Path(__file__).parents[2] / "vla_bringup" / "robots"
PERIOD = 1 / 30
BOTH = pytest.mark.parametrize("name", ["sim_ur5e_bimanual", "sim_tatbot_bimanual"])
ARMS = 8  # lowest contact bit that only arms have
STEPS = 10  # of a chunk


class Arms:
    """Both arms of the cell, followed chunk by chunk."""

    def __init__(self, name):
        self.profile = load_profile(ROBOTS / f"{name}.yaml")
        stage = stage_of(self.profile)
        self.world = World({}, "lift", stations=stage.stations, cameras=stage.cameras)
        self.cells = {
            f"{station.name}_arm": Cell({}, seed, world=self.world, station=station)
            for seed, station in enumerate(stage.stations)
        }
        self.side = np.zeros(self.world.model.ngeom, dtype=int)
        for number, station in enumerate(stage.stations, 1):
            bodies = [
                self.world.model.body(geom).name.startswith(station.prefix) for geom in self.world.model.geom_bodyid
            ]
            self.side[np.array(bodies) & (self.world.model.geom_contype >= ARMS)] = number
        self.touched = False
        self.world.after_step.append(self.look)

    def look(self):
        pairs = self.side[self.world.data.contact.geom]
        self.touched |= bool(len(pairs) and (np.sort(pairs, axis=1) == (1, 2)).all(axis=1).any())

    def measured(self):
        return {name: cell.arm_state()[0][: len(cell.robot.arm_joints)] for name, cell in self.cells.items()}

    def follow(self, chunk):
        for step in range(STEPS):
            for name, cell in self.cells.items():
                cell.set_arm_target(chunk[name][step])
            self.world.step(round(PERIOD * 500))

    def drive(self, speeds, seconds, checked):
        """Turn the feet at `speeds` [rad/s] by chunks; returns the report that refused one, or None."""
        check = SafetyFilter(self.profile)
        target = self.measured()
        for _ in range(round(seconds / PERIOD / STEPS)):
            times = PERIOD * np.arange(1, STEPS + 1)[:, None]
            chunk = {name: q + times * speeds[name] for name, q in target.items()}
            report = check.check(chunk, PERIOD, target)
            if checked and not report.ok:
                return report
            self.follow(chunk)
            target = {name: rows[-1] for name, rows in chunk.items()}
        return None


def towards(arms, speed):
    """The left arm turns clockwise, the right one the other way, so that they meet between their bases."""
    first = np.eye(len(next(iter(arms.measured().values()))))[0]
    return {"left_arm": -speed * first, "right_arm": speed * first}


@BOTH
def test_arms_driven_at_each_other_stop_apart(name):
    arms = Arms(name)
    report = arms.drive(towards(arms, 0.6), 6.0, checked=True)
    assert report is not None
    assert {item.kind for item in report.items} == {DISTANCE}
    assert "left_arm and right_arm: left_arm " in report.violations[0]
    stop = arms.measured()
    arms.world.step(500)
    assert not arms.touched, "they stop before they touch"
    turned = [np.abs(stop[arm] - arms.profile.ready[arm]).max() for arm in stop]
    assert min(turned) > 0.4, "and not long before"
    back = arms.drive({name: -speed for name, speed in towards(arms, 0.6).items()}, 1.0, checked=True)
    assert back is None, "they may go apart again"


@BOTH
def test_without_the_check_they_touch(name):
    arms = Arms(name)
    assert arms.drive(towards(arms, 0.6), 6.0, checked=False) is None
    assert arms.touched


@BOTH
def test_the_kinematics_of_the_profile_are_those_of_the_physics(name):
    arms, rng = Arms(name), np.random.default_rng(0)
    model, data = arms.world.model, arms.world.data
    for arm in arms.profile.arms:
        places = [model.joint(joint).qposadr[0] for joint in arm.kinematics.joints]
        data.qpos[places] = q = rng.uniform(-1.0, 1.0, len(places))
        arms.world.settle()
        for frame, pose in ((arm.base_frame, np.eye(4)), (arm.tool_frame, forward(arm.kinematics, q))):
            body = data.body(frame)
            np.testing.assert_allclose(body.xpos, pose[:3, 3] + arm.mount_xyz, atol=1e-6)
            np.testing.assert_allclose(body.xmat.reshape(3, 3), pose[:3, :3], atol=1e-6)


@BOTH
def test_the_links_of_the_profile_cover_the_shapes_of_the_physics(name):
    """Every corner of every shape that can touch is inside a capsule of its arm, or no more than 1 mm outside of it."""
    arms = Arms(name)
    model, data = arms.world.model, arms.world.data
    for number, arm in enumerate(arms.profile.arms, 1):
        capsules = ArmCapsules(arm)
        lines = capsules.lines(arms.measured()[arm.name][None])[0]
        for geom in np.flatnonzero(arms.side == number):
            size, kind = model.geom_size[geom], model.geom_type[geom]
            if kind == 6:
                corners = np.stack(np.meshgrid(*[(-1, 1)] * 3), axis=-1).reshape(-1, 3) * size
            else:
                angle = np.linspace(0, 2 * np.pi, 32)
                rim = np.stack([np.cos(angle), np.sin(angle)], axis=1) * size[0]
                corners = np.concatenate([np.c_[rim, np.full(len(rim), z)] for z in (-size[1], size[1])])
            points = corners @ data.geom_xmat[geom].reshape(3, 3).T + data.geom_xpos[geom]
            as_lines = np.repeat(points[:, None, None], 2, axis=2)
            outside = (line_distances(as_lines, lines[None]) - capsules.radii).min(axis=1)
            assert outside.max() < 1e-3, model.body(model.geom_bodyid[geom]).name
