# SPDX-License-Identifier: Apache-2.0

"""Two hosts on one machine: network namespaces with a cable between them, each with shared memory of its own."""

import os
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ADDRESSES = ("10.77.0.1/24", "10.77.0.2/24")
# what a host consists of: its own /dev/shm, held by a process that waits until its input is closed
HOLDER = "mount -t tmpfs tmpfs /dev/shm && echo ready && exec cat"


def _ip(*arguments):
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False, timeout=30)


def _wait_for_link(name, cable):
    """Until the kernel calls the card running: DDS never uses one that was not when a process started."""
    deadline = time.monotonic() + 20.0
    while "state UP" not in _ip("-n", name, "link", "show", cable).stdout:
        assert time.monotonic() < deadline, f"{cable} does not come up"
        time.sleep(0.02)


class Host:
    """One of the two; `name` is that of its network namespace."""

    def __init__(self, name):
        self.name = name
        command = ["ip", "netns", "exec", name, "unshare", "-m", "sh", "-c", HOLDER]
        self.holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if (said := self.holder.stdout.readline()) != "ready\n":
            raise OSError(f"no /dev/shm of its own: {said}")

    def command(self, *command):
        """The command line that runs `command` on this host."""
        return ["nsenter", "-t", str(self.holder.pid), "-m", "-n", f"--wd={Path.cwd()}", *map(str, command)]

    def received_bytes(self):
        """What the network card has received so far."""
        out = subprocess.run(self.command("cat", "/proc/net/dev"), capture_output=True, text=True, check=True).stdout
        return next(int(line.split(":")[1].split()[0]) for line in out.splitlines() if line.lstrip().startswith("vla"))

    def close(self):
        self.holder.stdin.close()
        self.holder.wait(10)
        _ip("netns", "del", self.name)


def make_hosts():
    """Two connected hosts; skips the test, with the reason, where this machine cannot have them."""
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in ("ip", "nsenter", "unshare")):
        pytest.skip("network namespaces need root, iproute2 and util-linux")
    tag = secrets.token_hex(3)
    names, hosts = [f"vla-{tag}-{side}" for side in "ab"], []
    cables = [f"vla{tag}{side}" for side in "ab"]
    try:
        for name in names:
            if (done := _ip("netns", "add", name)).returncode:
                pytest.skip(f"this machine gives no network namespaces: {done.stderr.strip()}")
        link = [
            "link",
            "add",
            cables[0],
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            cables[1],
            "netns",
            names[1],
        ]
        if (done := _ip(*link)).returncode:
            pytest.skip(f"this machine gives no virtual network cable: {done.stderr.strip()}")
        for name, cable, address in zip(names, cables, ADDRESSES, strict=True):
            for arguments in (
                ("addr", "add", address, "dev", cable),
                ("link", "set", "lo", "up"),
                ("link", "set", cable, "up"),
            ):
                assert _ip("-n", name, *arguments).returncode == 0
        for name, cable in zip(names, cables, strict=True):
            _wait_for_link(name, cable)
        hosts += [Host(name) for name in names]
    except BaseException:
        remove_hosts(names, hosts)
        raise
    return hosts


def remove_hosts(names, hosts):
    """End the holders and delete the namespaces, also half-made ones."""
    for host in hosts:
        host.close()
    for name in names:
        _ip("netns", "del", name)  # those that are gone answer with an error
