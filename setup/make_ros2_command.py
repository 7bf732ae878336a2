# SPDX-License-Identifier: Apache-2.0

"""Write ``<venv>/bin/ros2`` for the interpreter that runs this script, unless the real ros2cli is there.

The written command looks again each time it starts: a real ``ros2cli`` that was sourced later wins.
"""

import importlib.util
import sys
from pathlib import Path

# A shell finds the interpreter: a "#!" line cannot hold a path with a space or of more than 127 characters.
_TEMPLATE = """#!/bin/sh
'''exec' "{python}" "$0" "$@"
' '''
import importlib.util
import sys

if importlib.util.find_spec("ros2cli") is not None:
    from ros2cli.cli import main
else:
    from ros2_pip_cli.main import main
sys.exit(main())
"""


def write_command(bin_dir: Path, python: Path) -> Path:
    """Write the executable ``ros2`` into ``bin_dir``, whole or not at all, and return its path."""
    target = bin_dir / "ros2"
    draft = bin_dir / ".ros2.new"
    draft.write_text(_TEMPLATE.format(python=python), encoding="utf-8")
    draft.chmod(0o755)
    draft.replace(target)
    return target


def main() -> int:
    """Write the command into the environment of this interpreter and say so."""
    if importlib.util.find_spec("ros2cli") is not None:
        print("ros2: the real ros2cli is installed, nothing to write")
        return 0
    bin_dir = Path(sys.prefix) / "bin"
    print(f"ros2: written to {write_command(bin_dir, bin_dir / 'python')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
