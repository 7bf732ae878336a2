# SPDX-License-Identifier: Apache-2.0

"""All mistakes of a robot profile at once, where `vla_core.profile.load_profile` stops at the first.

After each mistake the value that it is about is left out and the rest is read again. What only follows from a value that
was left out is not reported.
"""

from __future__ import annotations

from pathlib import Path

from vla_core.errors import ProfileError
from vla_core.profile import Profile, build_profile, read_tree
from vla_core.yamltree import Place, Tree

_MOST = 100
# Values that stand for required texts and numbers, so that what comes after a missing one is read too.
_STANDINS: dict[str, str | float] = {
    "robot": "robot",
    "fps": 10.0,
    "base_frame": "base",
    "tool_frame": "tool",
    "task": "task",
}
# Parts that name actions: without one of these they say nothing of their own.
_NAMING_ACTIONS = ("teleop", "ready", "kinematics", "state_space", "rotation")


def profile_problems(path: str | Path) -> tuple[Profile | None, tuple[ProfileError, ...]]:
    """Return the profile in a file, or None and what is wrong with it.

    Args:
        path: YAML file.
    """
    try:
        tree = read_tree(Path(path))
    except ProfileError as error:
        return None, (error,)
    found: list[ProfileError] = []
    gone: set[str] = set()
    while len(found) < _MOST:
        try:
            profile = build_profile(tree)
        except ProfileError as error:
            if not _follows(error.key, gone):
                found.append(error)
            smaller = _smaller(tree, error.key, gone)
            if smaller is None:
                break
            tree = smaller
        else:
            return (None, tuple(found)) if found else (profile, ())
    return None, tuple(found)


def _follows(key: str, gone: set[str]) -> bool:
    """Whether a mistake comes from what was left out before."""
    if any(left == key or left.startswith((f"{key}.", f"{key}[")) for left in gone if key):
        return True
    no_action = any(left.startswith("action[") and left.endswith("]") and left.count("[") == 1 for left in gone)
    return no_action and key.split(".")[0] in _NAMING_ACTIONS


def _smaller(tree: Tree, key: str, gone: set[str]) -> Tree | None:
    """Return the tree without the value of a key, or without the nearest thing around it that is there."""
    while key:
        smaller = _without(tree, key)
        gone.add(key)
        if smaller is not None:
            return _completed(smaller, key)
        if key in _STANDINS:
            return _completed(tree, key)
        key = _parent(key)
    return None


def _parent(key: str) -> str:
    return key[: max(key.rfind("."), key.rfind("["), 0)]


def _without(tree: Tree, key: str) -> Tree | None:
    """Return the tree without the value that was written at a key; None if there is none."""
    if isinstance(tree.value, dict):
        for name, child in tree.value.items():
            if child.place.key == key:
                return Tree({k: v for k, v in tree.value.items() if k != name}, tree.place, tree.raw)
            smaller = _without(child, key)
            if smaller is not None:
                return Tree({**tree.value, name: smaller}, tree.place, tree.raw)
    if isinstance(tree.value, list):
        for i, child in enumerate(tree.value):
            if child.place.key == key:
                return Tree([*tree.value[:i], *tree.value[i + 1 :]], tree.place, tree.raw)
            smaller = _without(child, key)
            if smaller is not None:
                return Tree([*tree.value[:i], smaller, *tree.value[i + 1 :]], tree.place, tree.raw)
    return None


def _completed(tree: Tree, key: str) -> Tree:
    """Return the tree with something in the place of a required text or number."""
    if key not in _STANDINS or not isinstance(tree.value, dict):
        return tree
    place = Place(tree.place.source, key, tree.place.line)
    return Tree({**tree.value, key: Tree(_STANDINS[key], place)}, tree.place, tree.raw)
