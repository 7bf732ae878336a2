# SPDX-License-Identifier: Apache-2.0

"""Quality of service from options, and adapted to the publishers that are there."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    LivelinessPolicy,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
)

from ros2_pip_cli.arguments import non_negative_int, positive_float

_POLICIES: dict[str, Any] = {
    "history": HistoryPolicy,
    "reliability": ReliabilityPolicy,
    "durability": DurabilityPolicy,
    "liveliness": LivelinessPolicy,
}


def add_qos_arguments(parser: argparse.ArgumentParser, verb: str, default: str) -> None:
    """Add ``--qos-*``; ``verb`` is 'subscribe' or 'publish', ``default`` the name of a preset profile."""
    presets = sorted(QoSPresetProfiles.short_keys())
    parser.add_argument(
        "--qos-profile",
        choices=presets,
        default=default,
        help=f"Quality of service preset profile to {verb} with (default: %(default)s)",
    )
    parser.add_argument(
        "--qos-depth",
        metavar="N",
        type=non_negative_int,
        help=f"Queue size setting to {verb} with (overrides the depth of --qos-profile)",
    )
    for name, policy in _POLICIES.items():
        parser.add_argument(
            f"--qos-{name}",
            choices=sorted(policy.short_keys()),
            help=f"Quality of service {name} setting to {verb} with (overrides the one of --qos-profile)",
        )
    parser.add_argument(
        "--qos-liveliness-lease-duration-seconds",
        metavar="S",
        type=positive_float,
        help=f"Quality of service liveliness lease duration to {verb} with",
    )


def given_qos(args: argparse.Namespace) -> QoSProfile:
    """Return the profile that the options describe."""
    profile: QoSProfile = QoSPresetProfiles.get_from_short_key(args.qos_profile)
    for name, policy in _POLICIES.items():
        key = getattr(args, f"qos_{name}")
        if key is not None:
            setattr(profile, name, policy.get_from_short_key(key))
    if args.qos_depth is not None:
        profile.depth = args.qos_depth
    elif profile.durability == DurabilityPolicy.TRANSIENT_LOCAL and profile.depth == 0:
        profile.depth = 1
    if args.qos_liveliness_lease_duration_seconds is not None:
        profile.liveliness_lease_duration = Duration(seconds=args.qos_liveliness_lease_duration_seconds)
    return profile


def subscription_qos(node: Node, topic: str, args: argparse.Namespace) -> QoSProfile:
    """Return the profile to listen to ``topic`` with: as the options say, else one that all its publishers match."""
    options = [*(f"qos_{name}" for name in _POLICIES), "qos_depth", "qos_liveliness_lease_duration_seconds"]
    profile = given_qos(args)
    if any(getattr(args, option) is not None for option in options):
        return profile
    return adapted_qos(profile, [info.qos_profile for info in node.get_publishers_info_by_topic(topic)])


def adapted_qos(profile: QoSProfile, offered: Sequence[QoSProfile]) -> QoSProfile:
    """Set reliability and durability of ``profile`` to the strongest that every offer satisfies; say so if mixed."""
    if not offered:
        return profile
    profile.reliability = _common(
        [offer.reliability for offer in offered], ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT
    )
    profile.durability = _common(
        [offer.durability for offer in offered], DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
    )
    return profile


def _common(offered: Sequence[Any], strong: Any, weak: Any) -> Any:
    count = sum(policy == strong for policy in offered)
    if count == len(offered):
        return strong
    if count:
        print(
            f"Some, but not all, publishers are offering {type(strong).__name__}.{strong.name}. "
            f"Falling back to {type(weak).__name__}.{weak.name} as it will connect to all publishers",
            file=sys.stderr,
        )
    return weak
