# SPDX-License-Identifier: Apache-2.0

"""``ros2 daemon``: answers scripts that manage the daemon; commands here discover the graph themselves."""

import argparse

from ros2_pip_cli.arguments import SubVerb, add_sub_verbs, run_sub_verb

NAME = "daemon"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    add_sub_verbs(
        parser,
        (
            SubVerb(
                name="start", text="Start the daemon if it isn't running", add_arguments=_nothing, main=_not_running
            ),
            SubVerb(name="status", text="Output the status of the daemon", add_arguments=_nothing, main=_not_running),
            SubVerb(name="stop", text="Stop the daemon if it is running", add_arguments=_nothing, main=_not_running),
        ),
    )


def main(args: argparse.Namespace) -> int:
    """Run the chosen sub-command."""
    return run_sub_verb(args)


def _nothing(_parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""


def _not_running(_args: argparse.Namespace) -> int:
    print("The daemon is not running")
    print("(none is needed: each command discovers the graph itself)")
    return 0
