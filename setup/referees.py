# SPDX-License-Identifier: Apache-2.0

"""The referees: programs of others that read what this project writes, in an environment of their own for the tests.

TensorFlow and this project's packages want different versions of the same things, so `.referees` is a second venv. Nothing
but tests uses it, and a machine that cannot have it loses only those tests, with the reason. `./test data` makes it:

    .venv/bin/python setup/referees.py
"""

from __future__ import annotations

import fcntl
import shutil
import sys
import time

from base import ROOT, STATE, VENV, SetupError, file_digest, run
from environment import uv_command

REFEREES = ROOT / ".referees"
LOCK = ROOT / "setup" / "requirements-referees.lock"
MARK = REFEREES / "made_from"
REASON = STATE / "referees.reason"


def missing() -> bool:
    """Whether the environment must be made, or made again because the pinned packages changed."""
    made = MARK.read_text() if MARK.exists() else ""
    return made != file_digest([LOCK])


def make_referees() -> bool:
    """Make .referees with the pinned packages where it is missing.

    Returns:
        Whether it is there. Where it cannot be made, the reason is printed and kept for the tests that are skipped.
    """
    if not missing():
        return True
    STATE.mkdir(exist_ok=True)
    with (STATE / "referees.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two terminals may start at once
        if not missing():
            return True
        print(
            "[setup] referees (TensorFlow to check what is written; about 1.7 GB) …",
            end="",
            flush=True,
            file=sys.stderr,
        )
        started = time.monotonic()
        try:
            _make()
        except SetupError as error:
            shutil.rmtree(REFEREES, ignore_errors=True)
            REASON.write_text(str(error).splitlines()[0] + " See .state/referees.log")
            print(f" not made; the tests that need them are skipped. {error}", file=sys.stderr)
            return False
        REASON.unlink(missing_ok=True)
        print(f" {time.monotonic() - started:.0f} s", file=sys.stderr)
        return True


def _make() -> None:
    shutil.rmtree(REFEREES, ignore_errors=True)
    python = str(REFEREES / "bin" / "python")
    run([str(VENV / "bin" / "python"), "-m", "venv", str(REFEREES)], "referees")
    _install(python)
    run([python, "-I", "-c", "import tensorflow, tensorflow_datasets, moto.server"], "referees")
    MARK.write_text(file_digest([LOCK]))


def _install(python: str) -> None:
    uv = uv_command()
    if uv:
        try:
            run([*uv, "pip", "install", "-q", "--system-certs", "--python", python, "-r", str(LOCK)], "referees")
            return
        except SetupError:
            print(" (uv failed, trying pip)", end="", flush=True, file=sys.stderr)
    run([python, "-I", "-m", "pip", "install", "-q", "-r", str(LOCK)], "referees")


if __name__ == "__main__":
    make_referees()  # without them the tests still run: never a failure
