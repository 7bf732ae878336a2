# SPDX-License-Identifier: Apache-2.0

"""What the list of controllers says about one that is to take commands: is it active, in which order does it take its joints.

ros2_control's manager lists the command interfaces of a controller, `<joint>/position`, in the order of its parameter
`joints`, as soon as it is configured (controller_manager, list_controllers).
"""

from collections.abc import Sequence

from controller_manager_msgs.msg import ControllerState
from vla_core.errors import listing
from vla_core.specs import CommandSpec

ACTIVE = "active"


def manager_of(command: CommandSpec) -> str:
    """Return the name of the controller manager in whose namespace a controller is, as relative as the command's."""
    outer = command.name.rpartition("/")[0].rpartition("/")[0]
    return f"{outer}/controller_manager" if outer else "controller_manager"


def joint_order(controller: ControllerState) -> tuple[str, ...]:
    """Return the joints that a controller commands, in its order; empty where the manager does not tell."""
    parts = [name.split("/") for name in controller.required_command_interfaces]
    return tuple(dict.fromkeys(part[-2] for part in parts if len(part) > 1))


def why_not_active(own: ControllerState, everyone: Sequence[ControllerState], switch: str) -> str | None:
    """Return why a controller takes no commands and how to change that; None: it does.

    Args:
        own: The controller.
        everyone: All that its manager has loaded.
        switch: Full name of the manager's service that switches.
    """
    if own.state == ACTIVE:
        return None
    needed = set(own.required_command_interfaces)
    rivals = [each.name for each in everyone if each.state == ACTIVE and needed & set(each.claimed_interfaces)]
    who = f": {listing(rivals)} has the arm" if rivals else ""
    first = (
        "If a person drives, give the arm back with: ros2 service call teleop/enable std_srvs/srv/SetBool '{data: false}' "
        "(of two arms: left_teleop/enable or right_teleop/enable)."
        if rivals
        else "Is the robot's program running (its driver starts the controllers with it)?"
    )
    return (
        f"controller {own.name} is {own.state}, so it would take no command{who}. {first} Or switch to it: ros2 service call "
        f'{switch} controller_manager_msgs/srv/SwitchController "{{activate_controllers: [{own.name}], '
        f'deactivate_controllers: [{", ".join(rivals)}], strictness: 2}}"'
    )


def why_wrong_order(own: ControllerState, joints: Sequence[str]) -> str | None:
    """Return why numbers without names would reach other joints, and what to do; None: they would not.

    Args:
        own: The controller that takes them.
        joints: In the order in which they are sent.
    """
    order = joint_order(own)
    if not order or order == tuple(joints):
        return None
    return (
        f"controller {own.name} takes {listing(order)}, but the profile sends {listing(joints)}: numbers without names, so "
        "joints would be swapped. Write the joints of the profile in the order of the controller's parameter `joints`"
    )
