# SPDX-License-Identifier: Apache-2.0

"""Wrong parameters end the cell before anything moves, with a message that says which and why."""

import random
from pathlib import Path

import pytest
import rclpy
from rclpy.context import Context
from vla_common.params import ParameterError, overrides
from vla_sim.sim_node import CellNode

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"


@pytest.fixture
def context(monkeypatch):
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    context = Context()
    rclpy.init(context=context, domain_id=random.randint(1, 200))
    yield context
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize(
    ("params", "error", "text"),
    [
        ({"tick_rate_hz": 33.0}, ParameterError, "'tick_rate_hz': 33 does not divide the control rate of 500 Hz"),
        ({"clock_mode": "lockstepped"}, ParameterError, "did you mean 'lockstep'"),
        (
            {"camera_phase_s": (0.1,)},
            Exception,
            "camera_phase_s has 1 values for 2 cameras of the profile: front, wrist",
        ),
        ({"profile": "/no/such.yaml"}, Exception, "/no/such.yaml"),
    ],
)
def test_wrong_parameters(context, params, error, text):
    values = {"profile": str(PROFILE), "clock_mode": "paced", **params}
    with pytest.raises(error, match=text):
        CellNode(context=context, parameter_overrides=overrides(values))
