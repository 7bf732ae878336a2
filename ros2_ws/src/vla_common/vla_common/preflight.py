# SPDX-License-Identifier: Apache-2.0

"""The checks of a robot's start as one more state of the robot: whoever moves an arm waits until they have passed.

The node `preflight` of a launch publishes it, latched: false while something is wrong, true once nothing is.
"""

from dataclasses import replace

from vla_core.profile import Profile
from vla_core.specs import MonitorSpec

TOPIC = "preflight/passed"
PREFLIGHT = MonitorSpec(
    name="preflight",
    topic=TOPIC,
    type="std_msgs/msg/Bool",
    field="data",
    allowed=(True,),
    qos="latched",
    max_age_s=None,
    required=True,
    hint="the checks of the start have found something, or are not over: see the lines of the node preflight in the "
    "launch's output, each with its remedy; without them: check_robot:=false",
)
PARAMETER = "Nothing moves before the node `preflight` has said that the checks of the start have passed."


def guarded(profile: Profile, preflight: bool) -> Profile:
    """Return the profile with the checks of the start among its monitors, if they are to count."""
    return replace(profile, monitors=(*profile.monitors, PREFLIGHT)) if preflight else profile
