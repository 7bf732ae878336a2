# SPDX-License-Identifier: Apache-2.0

"""Names of the original package that this subset refuses."""

from collections.abc import Callable


def refuse(module: str, names: frozenset[str]) -> Callable[[str], object]:
    """Return a module ``__getattr__`` that refuses these names with an explanation."""

    def __getattr__(name: str) -> object:  # noqa: N807 - becomes the function of that name in a module
        if name in names:
            raise ImportError(
                f"{module}.{name} is not supported by the launch subset for pip; it needs a real ROS 2 installation"
            )
        raise AttributeError(f"module '{module}' has no attribute '{name}'")

    return __getattr__
