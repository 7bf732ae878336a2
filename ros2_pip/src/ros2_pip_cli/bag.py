# SPDX-License-Identifier: Apache-2.0

"""``ros2 bag``: record topics, play them again, show what a bag holds."""

import argparse

from rosbag2_py import Info

from ros2_pip_cli import bag_play, bag_record
from ros2_pip_cli.arguments import SubVerb, add_sub_verbs, run_sub_verb
from ros2_pip_cli.bag_arguments import add_storage_argument, bag_path
from ros2_pip_cli.errors import CliError

NAME = "bag"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(name="info", text="Print information about a bag", add_arguments=_info_arguments, main=_info),
            bag_play.SUB_VERB,
            bag_record.SUB_VERB,
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("bag_path", type=bag_path, help="Bag to show")
    add_storage_argument(parser)
    parser.add_argument("-t", "--topic-name", action="store_true", help="Only display topic names")


def _info(args: argparse.Namespace) -> int:
    try:
        metadata = Info().read_metadata(args.bag_path, args.storage)
    except RuntimeError as error:
        raise CliError(str(error)) from None
    if args.topic_name:
        for name in sorted(info.topic_metadata.name for info in metadata.topics_with_message_count):
            print(name)
    else:
        print(metadata)
    return 0
