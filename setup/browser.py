# SPDX-License-Identifier: Apache-2.0

"""Chromium, in which the tests of the operator page run.

    .venv/bin/python setup/browser.py

is what `./test page` does first. It is installed where that needs no question: by root, with apt, as in a container.
Elsewhere, and where apt does not have it, only those tests are lost, and they say so.
"""

from __future__ import annotations

import os
import shutil
import sys
import time

from base import STATE, SetupError, run

NAMES = ("chromium", "chromium-browser", "google-chrome")
LINE = "sudo apt-get install chromium"


def find_browser() -> str | None:
    """The path of a browser that the tests can use, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def make_browser() -> bool:
    """Install Chromium where it is missing and may be installed.

    Returns:
        Whether there is a browser. Where there is none, the reason and the line to run are printed.
    """
    if find_browser():
        return True
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        print(f"[setup] no Chromium; the tests of the page in a browser are skipped. {LINE}", file=sys.stderr)
        return False
    STATE.mkdir(exist_ok=True)
    print("[setup] Chromium for the tests of the operator page …", end="", flush=True, file=sys.stderr)
    started = time.monotonic()
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        run(["apt-get", "update", "-qq"], "browser", env)
        run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"], "browser", env)
    except SetupError as error:
        print(f" not installed; the tests that need it are skipped. {error}", file=sys.stderr)
        return False
    print(f" {time.monotonic() - started:.0f} s", file=sys.stderr)
    return find_browser() is not None


if __name__ == "__main__":
    make_browser()  # without it the other tests still run: never a failure
