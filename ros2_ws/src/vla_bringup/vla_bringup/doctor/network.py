# SPDX-License-Identifier: Apache-2.0

"""Checks of what ROS messages travel over: DDS transport, shared memory, socket buffers, domain, discovery, clocks."""

from __future__ import annotations

import os
import re
from pathlib import Path
from xml.etree import ElementTree

from vla_core.profile import Profile

from vla_bringup.doctor.findings import Finding, green, red, yellow
from vla_bringup.doctor.host import Host

PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
_STOCK_SEGMENT = 512 << 10
_SMALL_SHM = 256 << 20
_RMEM = 8 << 20
_LAST_SAFE_DOMAIN = 101  # of the ports that Linux does not give to others; ROS 2 documentation, The ROS_DOMAIN_ID
_LAST_DOMAIN = 232
_RANGES = ("SUBNET", "LOCALHOST", "OFF", "SYSTEM_DEFAULT")
_OFFSET_S = 1e-3


def judge_network(host: Host, rmw: str, profile: Profile | None, fastdds_profile: Path) -> list[Finding]:
    """Return what is found about the transport of messages.

    Args:
        host: This machine.
        rmw: Middleware in use.
        profile: Its images must fit; None: an image of 640x480.
        fastdds_profile: The file that the launch files use.
    """
    image = max((c.size[0] * c.size[1] * 3 for c in profile.cameras), default=0) if profile else 640 * 480 * 3
    found = [_domain(host), _discovery(host)]
    if "fastrtps" in rmw:
        found += [_transport(host, image, fastdds_profile), _shared_memory(host)]
    return [*found, _buffers(host), _clock(host)]


def _local(host: Host) -> bool:
    return host.env.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper() == "LOCALHOST"


def _domain(host: Host) -> Finding:
    text = host.env.get("ROS_DOMAIN_ID", "")
    if not text:
        if _local(host):
            return green("ROS_DOMAIN_ID", "not set: domain 0, on this host only")
        remedy = (
            "export ROS_DOMAIN_ID=<0 to 101> on all machines of this robot, or ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
        )
        return yellow("ROS_DOMAIN_ID", "not set: domain 0, shared with everybody in this network", remedy)
    if not text.isdigit() or int(text) > _LAST_DOMAIN:
        return red("ROS_DOMAIN_ID", f"'{text}' is no domain", f"export a number from 0 to {_LAST_SAFE_DOMAIN}")
    if int(text) > _LAST_SAFE_DOMAIN:
        remedy = f"choose 0 to {_LAST_SAFE_DOMAIN}"
        return yellow("ROS_DOMAIN_ID", f"{text}: its ports may be taken by other programs", remedy)
    return green("ROS_DOMAIN_ID", text)


def _discovery(host: Host) -> Finding:
    where, given = "discovery", host.env.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "").upper()
    if host.env.get("ROS_LOCALHOST_ONLY", "0") not in ("", "0"):
        remedy = "unset ROS_LOCALHOST_ONLY; export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
        return yellow(where, "ROS_LOCALHOST_ONLY is set; it is deprecated and wins over the newer variable", remedy)
    if given and given not in _RANGES:
        return red(where, f"ROS_AUTOMATIC_DISCOVERY_RANGE={given} means nothing", f"one of {', '.join(_RANGES)}")
    if given == "OFF":
        return red(
            where, "is switched off, so nodes do not find each other", "export ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET"
        )
    peers = host.env.get("ROS_STATIC_PEERS", "")
    return green(where, f"{given or 'SUBNET (default)'}{f', static peers {peers}' if peers else ''}")


def _transport(host: Host, image: int, shipped: Path) -> Finding:
    where = "DDS transport"
    variable = next((name for name in PROFILE_VARIABLES if host.env.get(name)), "")
    export = f"export FASTRTPS_DEFAULT_PROFILES_FILE={shipped}"
    if not variable:
        text = f"stock shared-memory segment of {_STOCK_SEGMENT >> 10} kB outside our launch files; larger images are lost silently"
        return yellow(where, text, f"for nodes and tools that you start yourself: {export}")
    path = Path(host.env[variable])
    try:
        root = ElementTree.parse(path).getroot()
    except OSError as error:
        return red(where, f"{variable}={path}: {error.strerror}", export)
    except ElementTree.ParseError as error:
        return red(where, f"{variable}={path} is no XML: {error}", export)
    sizes = [int(node.text or 0) for node in root.iter() if node.tag.rpartition("}")[2] == "segment_size"]
    segment = max(sizes, default=_STOCK_SEGMENT)
    text = f"{path.name}: shared-memory segment of {segment / (1 << 20):.1f} MiB, largest image {image / (1 << 20):.1f} MiB"
    if segment < 2 * image:
        return red(where, text, f"images are lost silently; {export}")
    return green(where, text)


def _shared_memory(host: Host) -> Finding:
    folder = host.root / "dev/shm"
    if not folder.is_dir():
        return red("/dev/shm", "there is none, so every message goes through UDP", "mount -t tmpfs tmpfs /dev/shm")
    stat = os.statvfs(folder)
    size, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
    text = f"{free / (1 << 20):.0f} of {size / (1 << 20):.0f} MiB are free"
    if size < _SMALL_SHM:
        return red("/dev/shm", text, "a container's default is 64 MB: start it with --ipc=host or --shm-size=1g")
    if free < _SMALL_SHM:
        remedy = "segments of killed nodes fill it: end all nodes, then `fastdds shm clean`, or start the machine anew"
        return yellow("/dev/shm", text, remedy)
    return green("/dev/shm", text)


def _buffers(host: Host) -> Finding:
    text = host.read("proc/sys/net/core/rmem_max")
    if not text.isdigit():
        return green("socket buffers", "net.core.rmem_max is not told")
    size = int(text)
    shown = f"net.core.rmem_max is {size / (1 << 20):.1f} MiB"
    if size < _RMEM and not _local(host):
        remedy = "images from another host come in bursts: sudo sysctl -w net.core.rmem_max=33554432 (keep it in /etc/sysctl.d)"
        return yellow("socket buffers", shown, remedy)
    return green("socket buffers", f"{shown}{'; everything is on this host' if _local(host) else ''}")


def _clock(host: Host) -> Finding:
    where = "clock"
    remedy = "on every host: sudo apt-get install chrony, all with the same server; then `chronyc tracking`"
    tracking = host.ask("chronyc", "-n", "tracking")
    if tracking is not None:
        offset = re.search(r"System time\s*:\s*([\d.]+) seconds (\w+)", tracking)
        if "Not synchronised" in tracking or offset is None:
            return yellow(where, "chrony runs, but is not synchronised", remedy)
        text = f"chrony: {float(offset[1]) * 1e3:.3f} ms {offset[2]}"
        return green(where, text) if float(offset[1]) < _OFFSET_S else yellow(where, text, remedy)
    answer = host.ask("timedatectl", "show", "-p", "NTPSynchronized", "--value")
    if answer == "yes":
        return green(where, "synchronised by NTP (systemd); for sensors on several hosts chrony is more exact")
    if _local(host):
        return green(where, "not synchronised, which matters only between hosts")
    return yellow(where, "not synchronised, as far as this machine tells", remedy)
