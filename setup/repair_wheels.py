# SPDX-License-Identifier: Apache-2.0

"""Point the CMake files of the ROS 2 wheels at this environment's Python and NumPy headers.

The wheels were built in a container and their exported CMake targets name that container's include directories, so no
interface package can be built against them as they arrive. Files are replaced, never edited in place: an installer may
have hard-linked them to a cache that other environments share.
"""

import os
import re
import sys
import sysconfig
from pathlib import Path

import numpy as np

_PYTHON_INCLUDE = re.compile(r"/opt/python/[^;\"\s]*?/include/python3\.\d+")
_NUMPY_INCLUDE = re.compile(r"/[^;\"\s]*?/site-packages/numpy/_?core/include")


def repair(prefix: Path) -> int:
    """Rewrite foreign include directories below `prefix`/share; returns the number of files that changed."""
    python_include, numpy_include = sysconfig.get_path("include"), np.get_include()
    changed = 0
    for path in prefix.glob("share/*/cmake/**/*.cmake"):
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        fixed = _PYTHON_INCLUDE.sub(lambda _: python_include, text)
        # what is right already is set aside: the pattern ends at a space, so it would match the tail of such a path again
        parts = fixed.split(numpy_include)
        fixed = numpy_include.join(_NUMPY_INCLUDE.sub(lambda _: numpy_include, part) for part in parts)
        if fixed != text:
            temporary = path.with_suffix(".tmp")
            temporary.write_text(fixed, encoding="utf-8", errors="surrogateescape")
            temporary.replace(path)
            changed += 1
    return changed


if __name__ == "__main__":
    print(f"repaired {repair(Path(sys.prefix))} CMake files of the ROS 2 wheels below {os.path.relpath(sys.prefix)}")
