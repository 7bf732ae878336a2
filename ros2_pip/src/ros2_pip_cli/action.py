# SPDX-License-Identifier: Apache-2.0

"""``ros2 action``: actions of the graph, and goals for them."""

import argparse
from typing import Any

from action_msgs.msg import GoalStatus
from action_msgs.srv import CancelGoal
from rclpy._rclpy_pybind11 import RCLError
from rclpy.action import (
    ActionClient,
    get_action_client_names_and_types_by_node,
    get_action_names_and_types,
    get_action_server_names_and_types_by_node,
)
from rosidl_runtime_py import message_to_yaml

from ros2_pip_cli.arguments import SubVerb, add_node_arguments, add_sub_verbs, run_sub_verb
from ros2_pip_cli.errors import CliError, Terminated
from ros2_pip_cli.graph import FIND_S, CliNode, cli_node, full_name
from ros2_pip_cli.node import split_name
from ros2_pip_cli.values import fill, load_type, read_values

NAME = "action"

#: How long, in seconds, the answer to a cancel request, and then the result, are waited for.
_CANCEL_S = 10.0
_STATUS_NAMES = {
    GoalStatus.STATUS_ACCEPTED: "ACCEPTED",
    GoalStatus.STATUS_EXECUTING: "EXECUTING",
    GoalStatus.STATUS_CANCELING: "CANCELING",
    GoalStatus.STATUS_SUCCEEDED: "SUCCEEDED",
    GoalStatus.STATUS_CANCELED: "CANCELED",
    GoalStatus.STATUS_ABORTED: "ABORTED",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(name="info", text="Print information about an action", add_arguments=_info_arguments, main=_info),
            SubVerb(name="list", text="Output a list of action names", add_arguments=_list_arguments, main=_list),
            SubVerb(name="send_goal", text="Send an action goal", add_arguments=_goal_arguments, main=_send_goal),
            SubVerb(name="type", text="Print an action's type", add_arguments=_type_arguments, main=_type),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the action type")
    parser.add_argument("-c", "--count-actions", action="store_true", help="Only display the number of actions")


def _list(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        cli.settle(args.spin_time)
        actions = sorted(get_action_names_and_types(cli.node))
    if args.count_actions:
        print(len(actions))
        return 0
    for name, types in actions:
        print(f"{name} [{', '.join(types)}]" if args.show_types else name)
    return 0


def _type_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("action_name", help="Name of the ROS action to get type (e.g. '/fibonacci')")


def _type(args: argparse.Namespace) -> int:
    action = full_name(args.action_name)
    with cli_node(args) as cli:
        types = cli.wait_for(
            lambda: dict(get_action_names_and_types(cli.node)).get(action), max(args.spin_time, FIND_S)
        )
    for name in types or ():
        print(name)
    return 0 if types else 1


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("action_name", help="Name of the ROS action to get info (e.g. '/fibonacci')")
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the action type")
    parser.add_argument("-c", "--count", action="store_true", help="Only display the number of clients and servers")


def _info(args: argparse.Namespace) -> int:
    action = full_name(args.action_name)
    with cli_node(args) as cli:
        cli.wait_for(lambda: action in dict(get_action_names_and_types(cli.node)), args.spin_time)
        cli.settle(args.spin_time)
        print(f"Action: {action}")
        for title, query in (
            ("Action clients", get_action_client_names_and_types_by_node),
            ("Action servers", get_action_server_names_and_types_by_node),
        ):
            found = _nodes_of(cli, query, action)
            print(f"{title}: {len(found)}")
            for name, types in [] if args.count else found:
                print(f"    {name} [{', '.join(types)}]" if args.show_types else f"    {name}")
    return 0


def _nodes_of(cli: CliNode, query: Any, action: str) -> list[tuple[str, list[str]]]:
    found = []
    for full in cli.nodes():
        try:
            types = dict(query(cli.node, *split_name(full))).get(action)
        except RCLError:  # what a node gets that asks for one that has left since the list was made
            if full in cli.nodes():
                raise
            continue
        if types:
            found.append((full, types))
    return found


def _goal_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("action_name", help="Name of the ROS action (e.g. '/fibonacci')")
    parser.add_argument("action_type", help="Type of the ROS action (e.g. 'example_interfaces/action/Fibonacci')")
    goal = parser.add_mutually_exclusive_group()
    goal.add_argument("goal", nargs="?", default="{}", help="Goal request values in YAML (e.g. '{order: 10}')")
    goal.add_argument("--stdin", action="store_true", help="Read the goal from standard input")
    parser.add_argument("-f", "--feedback", action="store_true", help="Echo feedback messages for the goal")


def _send_goal(args: argparse.Namespace) -> int:
    action = full_name(args.action_name)
    action_class = load_type("action", args.action_type)
    goal = action_class.Goal()
    stamps = fill(goal, read_values(args.goal, from_stdin=args.stdin))
    with cli_node(args) as cli:
        client = ActionClient(cli.node, action_class, action)
        try:
            print("Waiting for an action server to become available...")
            cli.spin_until(client.server_is_ready)
            for set_stamp in stamps:
                set_stamp(cli.node.get_clock().now().to_msg())
            print(f"Sending goal:\n     {message_to_yaml(goal)}")
            return _drive_goal(cli, client, goal, feedback=args.feedback)
        finally:
            client.destroy()


def _drive_goal(cli: CliNode, client: Any, goal: Any, *, feedback: bool) -> int:
    """Send the goal and report on it to its end; an interruption, also before acceptance, cancels it.

    The exit code is 0 whatever became of the goal, as it is in the original: the output tells.
    """
    sent = client.send_goal_async(goal, feedback_callback=_print_feedback if feedback else None)
    result = None
    try:
        handle = _wait_for(cli, sent)
        if not handle.accepted:
            print("Goal was rejected.")
            return 0
        print(f"Goal accepted with ID: {bytes(handle.goal_id.uuid).hex()}\n")
        result = handle.get_result_async()
        response = _wait_for(cli, result)
        print(f"Result:\n    {message_to_yaml(response.result)}")
        print(f"Goal finished with status: {_STATUS_NAMES.get(response.status, 'UNKNOWN')}")
        return 0
    except (KeyboardInterrupt, Terminated):
        _cancel(cli, sent, result)
        raise


def _cancel(cli: CliNode, sent: Any, result: Any) -> None:
    cli.spin_until(sent.done, _CANCEL_S)
    if not sent.done() or not sent.result().accepted:
        return
    handle = sent.result()
    print("Canceling goal...")
    cancelled = handle.cancel_goal_async()
    if not cli.spin_until(cancelled.done, _CANCEL_S):
        msg = f"Failed to cancel the goal: the server did not answer within {_CANCEL_S:.0f} s"
        raise CliError(msg)
    if cancelled.result().return_code != CancelGoal.Response.ERROR_NONE:
        msg = f"Failed to cancel the goal: the server refused (return code {cancelled.result().return_code})"
        raise CliError(msg)
    result = result or handle.get_result_async()
    cli.spin_until(result.done, _CANCEL_S)
    print("Goal canceled.")


def _wait_for(cli: CliNode, future: Any) -> Any:
    cli.spin_until(future.done)
    if future.exception() is not None:
        msg = f"Exception while talking to the action server: {future.exception()!r}"
        raise CliError(msg)
    return future.result()


def _print_feedback(message: Any) -> None:
    print(f"Feedback:\n    {message_to_yaml(message.feedback)}")
