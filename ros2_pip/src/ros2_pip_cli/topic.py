# SPDX-License-Identifier: Apache-2.0

"""``ros2 topic``: what is published and subscribed, and its messages."""

import argparse

from ros2_pip_cli import topic_echo, topic_hz, topic_pub
from ros2_pip_cli.arguments import SubVerb, add_node_arguments, add_sub_verbs, run_sub_verb
from ros2_pip_cli.errors import CliError
from ros2_pip_cli.graph import FIND_S, CliNode, cli_node, full_name, is_hidden

NAME = "topic"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            topic_echo.SUB_VERB,
            SubVerb(
                name="find",
                text="Output a list of available topics of a given type",
                add_arguments=_find_arguments,
                main=_find,
            ),
            topic_hz.SUB_VERB,
            SubVerb(name="info", text="Print information about a topic", add_arguments=_info_arguments, main=_info),
            SubVerb(name="list", text="Output a list of available topics", add_arguments=_list_arguments, main=_list),
            topic_pub.SUB_VERB,
            SubVerb(name="type", text="Print a topic's type", add_arguments=_type_arguments, main=_type),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("-t", "--show-types", action="store_true", help="Additionally show the topic type")
    parser.add_argument("-c", "--count-topics", action="store_true", help="Only display the number of topics")
    parser.add_argument("--include-hidden-topics", action="store_true", help="Consider hidden topics as well")
    parser.add_argument("-v", "--verbose", action="store_true", help="List full details about each topic")


def _list(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        cli.settle(args.spin_time)
        topics = _topics(cli, hidden=args.include_hidden_topics)
        if args.count_topics:
            print(len(topics))
        elif args.verbose:
            _print_verbose(cli, topics)
        else:
            for name, types in topics:
                print(f"{name} [{', '.join(types)}]" if args.show_types else name)
    return 0


def _topics(cli: CliNode, *, hidden: bool) -> list[tuple[str, list[str]]]:
    names_and_types = cli.node.get_topic_names_and_types()
    return sorted((name, types) for name, types in names_and_types if hidden or not is_hidden(name))


def _print_verbose(cli: CliNode, topics: list[tuple[str, list[str]]]) -> None:
    for title, unit, count in (
        ("Published", "publisher", cli.node.count_publishers),
        ("Subscribed", "subscriber", cli.node.count_subscribers),
    ):
        print(f"{title} topics:")
        for name, types in topics:
            number = count(name)
            if number:
                print(f" * {name} [{', '.join(types)}] {number} {unit}{'s' if number > 1 else ''}")
        print()


def _find_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("topic_type", help="Name of the ROS topic type to filter for (e.g. 'std_msgs/msg/String')")
    parser.add_argument("-c", "--count-topics", action="store_true", help="Only display the number of topics")
    parser.add_argument("--include-hidden-topics", action="store_true", help="Consider hidden topics as well")


def _find(args: argparse.Namespace) -> int:
    with cli_node(args) as cli:
        cli.settle(args.spin_time)
        topics = _topics(cli, hidden=args.include_hidden_topics)
    names = [name for name, types in topics if args.topic_type in types]
    print(len(names)) if args.count_topics else print("".join(f"{name}\n" for name in names), end="")
    return 0


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to get info (e.g. '/chatter')")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="Print node, type hash, GID and QoS of each publisher and subscriber",
    )


def _info(args: argparse.Namespace) -> int:
    topic = full_name(args.topic_name)
    with cli_node(args) as cli:
        cli.wait_for(lambda: cli.topic_types(topic), FIND_S)
        cli.settle(args.spin_time)
        types = cli.topic_types(topic)
        if not types:
            msg = f"Unknown topic '{topic}'"
            raise CliError(msg)
        end = "\n\n" if args.verbose else "\n"
        print("Type:", types[0] if len(types) == 1 else types, end=end)
        for title, count, infos in (
            ("Publisher", cli.node.count_publishers, cli.node.get_publishers_info_by_topic),
            ("Subscription", cli.node.count_subscribers, cli.node.get_subscriptions_info_by_topic),
        ):
            print(f"{title} count: {count(topic)}", end=end)
            if args.verbose:
                for info in infos(topic):
                    print(info, end=end)
    return 0


def _type_arguments(parser: argparse.ArgumentParser) -> None:
    add_node_arguments(parser)
    parser.add_argument("topic_name", help="Name of the ROS topic to get type (e.g. '/chatter')")
    parser.add_argument("--include-hidden-topics", action="store_true", help="Consider hidden topics as well")


def _type(args: argparse.Namespace) -> int:
    topic = full_name(args.topic_name)
    with cli_node(args) as cli:
        types = cli.wait_for(lambda: cli.topic_types(topic), max(args.spin_time, FIND_S))
    if not types or (is_hidden(topic) and not args.include_hidden_topics):
        return 1
    for name in types:
        print(name)
    return 0
