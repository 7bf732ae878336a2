# SPDX-License-Identifier: Apache-2.0

"""Strict YAML: a tree that remembers where each value was written.

PyYAML reads YAML 1.1 and forgives much. A robot profile must not: a duplicate key (the last one would win), ``off`` for
a text (it would be False), ``1e-3`` for a number (it would be text), ``1:30`` and ``010`` (they would be 90 and 8) are
errors with file, dotted key and line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import yaml

from vla_core.errors import ProfileError, listing, nearest_name

_TAG = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"^[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+$")
_ODD_INTEGER = re.compile(r"^[-+]?(0[0-7_]+|0b[01_]+|0x[\da-fA-F_]+|[\d_]*_[\d_]*|\d+(:\d+)+)$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was written, for messages."""

    source: str
    key: str
    line: int

    def error(self, what: str) -> ProfileError:
        """Return an error about this place."""
        where = f"{self.source}:{self.line}" if self.line else self.source
        error = ProfileError(f"{where}: {self.key}: {what}" if self.key else f"{where}: {what}")
        error.key = self.key
        return error


@dataclass(frozen=True, slots=True)
class Tree:
    """A YAML value: ``value`` is a dict or list of trees, or a plain scalar; ``raw`` is the scalar as written."""

    value: Any
    place: Place
    raw: str = ""

    @property
    def kind(self) -> str:
        """What it is, in words for a message."""
        if isinstance(self.value, dict):
            return "a map"
        if isinstance(self.value, list):
            return "a list"
        if self.value is None:
            return "nothing"
        names = {bool: "the boolean", int: "the integer", float: "the number", str: "the text"}
        return f"{names[type(self.value)]} {self.value!r}"

    def plain(self) -> Any:
        """Return the value as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: tree.plain() for key, tree in self.value.items()}
        if isinstance(self.value, list):
            return [tree.plain() for tree in self.value]
        return self.value


def parse(text: str, source: str) -> Tree:
    """Return the tree of one YAML document.

    Raises:
        ProfileError: a syntax error, a duplicate key, more than one document, or a tag that YAML adds in disguise.
    """
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        problem = " ".join(part for part in (error.context, error.problem) if part)
        raise Place(source, "", line).error(f"not valid YAML: {problem}") from None
    except yaml.YAMLError as error:
        raise Place(source, "", 0).error(f"not valid YAML: {error}") from None
    if node is None:
        raise Place(source, "", 0).error("the file is empty; a robot profile starts with 'robot: <name>'")
    return _tree(node, Place(source, "", 1), frozenset())


def merge(base: Tree, over: Tree) -> Tree:
    """Return `base` with the keys of `over` laid over it: maps are merged, lists and scalars replaced.

    Every value keeps the place where it was written, so an error still names the right file and line.
    """
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, tree in over.value.items():
        merged[key] = merge(merged[key], tree) if key in merged else tree
    return Tree(merged, over.place)


def child_key(parent: str, key: str | int) -> str:
    """Return the dotted key of a child: ``cameras.front``, ``state[0]``."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def _tree(node: Any, place: Place, parents: frozenset[int]) -> Tree:
    place = Place(place.source, place.key, node.start_mark.line + 1)
    if id(node) in parents:
        raise place.error("an alias (*name) contains itself")
    inner = parents | {id(node)}
    if isinstance(node, yaml.MappingNode):
        return Tree(_mapping(node, place, inner), place)
    if isinstance(node, yaml.SequenceNode):
        items = [
            _tree(item, Place(place.source, child_key(place.key, i), 0), inner) for i, item in enumerate(node.value)
        ]
        return Tree(items, place)
    return Tree(_scalar(node, place), place, node.value)


def _mapping(node: Any, place: Place, parents: frozenset[int]) -> dict[str, Tree]:
    children: dict[str, Tree] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        here = Place(place.source, place.key, line)
        if key_node.tag == _TAG + "merge":
            raise here.error("the merge key '<<' is not supported; write the keys out, or use 'extends: <file>'")
        if not isinstance(key_node, yaml.ScalarNode):
            raise here.error("a key must be a plain word")
        key = str(key_node.value)
        if key_node.tag != _TAG + "str":
            raise here.error(f"YAML does not read the key '{key}' as text; put it in quotes")
        here = Place(place.source, child_key(place.key, key), line)
        if key in children:
            raise here.error(f"duplicate key '{key}', first on line {children[key].place.line}; remove one of them")
        children[key] = _tree(value_node, here, parents)
    return children


def _scalar(node: Any, place: Place) -> Any:
    raw, kind = node.value, node.tag.removeprefix(_TAG)
    if kind == "null":
        return None
    if kind == "bool":
        return raw.lower() in ("yes", "true", "on")
    if kind == "int":
        if _ODD_INTEGER.match(raw):
            raise place.error(
                f"'{raw}' is an integer in disguise (octal, hex, or base 60) in YAML 1.1; write it decimal"
            )
        return int(raw)
    if kind == "float":
        if ":" in raw or "_" in raw:
            raise place.error(f"'{raw}' is a base-60 or grouped number in YAML 1.1; write it decimal")
        return float(raw.replace(".inf", "inf").replace(".nan", "nan").replace(".Inf", "inf").replace(".NaN", "nan"))
    if kind in ("str", "timestamp"):
        return raw
    raise place.error(f"YAML tag '{node.tag}' is not supported; write plain text, numbers, lists and maps")


class Section:
    """Typed access to one map of a tree; unknown keys are refused when it is made."""

    def __init__(self, tree: Tree, allowed: tuple[str, ...]) -> None:
        if not isinstance(tree.value, dict):
            raise tree.place.error(f"expected a map with {listing(allowed)}, got {tree.kind}")
        self.tree = tree
        self._children: dict[str, Tree] = tree.value
        for key, child in self._children.items():
            if key not in allowed:
                raise child.place.error(f"unknown key '{key}'; allowed: {listing(allowed)}{nearest_name(key, allowed)}")

    def __contains__(self, key: str) -> bool:
        return key in self._children

    def error(self, key: str, what: str) -> ProfileError:
        """Return an error about a key of this map, or about the map itself when the key is absent."""
        if key in self._children:
            return self._children[key].place.error(what)
        place = self.tree.place
        return Place(place.source, child_key(place.key, key), place.line).error(what)

    def child(self, key: str) -> Tree:
        """Return the tree of a key; ProfileError when it is missing."""
        try:
            return self._children[key]
        except KeyError:
            raise self.error(key, "missing key; it has no default") from None

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text."""
        if key not in self._children and default is not None:
            return default
        return text(self.child(key))

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str:
        """Return a text that is one of `allowed`."""
        value = self.text(key, default)
        if value not in allowed:
            raise self.error(key, f"'{value}' is not one of {listing(allowed)}{nearest_name(value, allowed)}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Return a boolean."""
        if key not in self._children:
            return default
        tree = self.child(key)
        if not isinstance(tree.value, bool):
            raise tree.place.error(f"expected true or false, got {tree.kind}")
        return tree.value

    def number(self, key: str, default: float | None = None, *, above: float | None = None) -> float:
        """Return a finite number, larger than `above` where given."""
        if key not in self._children and default is not None:
            return default
        tree = self.child(key)
        value = number(tree)
        if above is not None and not value > above:
            raise tree.place.error(f"must be larger than {above:g}, got {value:g}")
        return value

    def numbers(self, key: str, count: int | None = None) -> tuple[float, ...]:
        """Return a list of finite numbers, of `count` elements where given."""
        values = tuple(number(tree) for tree in items(self.child(key)))
        if count is not None and len(values) != count:
            raise self.error(key, f"expected {count} numbers, got {len(values)}")
        return values

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts without repetition and with at least one element."""
        trees = items(self.child(key))
        values = tuple(text(tree) for tree in trees)
        for i, value in enumerate(values):
            if value in values[:i]:
                raise trees[i].place.error(f"'{value}' is listed twice")
        if not values:
            raise self.error(key, "the list is empty")
        return values


def text(tree: Tree) -> str:
    """Return the text of a scalar; words that YAML turns into something else are refused by name."""
    if isinstance(tree.value, str):
        if not tree.value:
            raise tree.place.error("the text is empty")
        return tree.value
    if isinstance(tree.value, bool | int | float):
        raise tree.place.error(f"expected text, but YAML reads {tree.raw} as {tree.kind}; put it in quotes")
    raise tree.place.error(f"expected text, got {tree.kind}")


def number(tree: Tree) -> float:
    """Return a finite number."""
    value = tree.value
    if isinstance(value, bool) or not isinstance(value, int | float):
        if isinstance(value, str) and _EXPONENT.match(value):
            raise tree.place.error(
                f"YAML 1.1 reads {value} as text; write the number with a point and a signed exponent, like 1.0e-3"
            )
        raise tree.place.error(f"expected a number, got {tree.kind}")
    if value != value or value in (float("inf"), float("-inf")):
        raise tree.place.error(f"expected a finite number, got {tree.raw}")
    return float(value)


def items(tree: Tree) -> list[Tree]:
    """Return the elements of a list."""
    if not isinstance(tree.value, list):
        raise tree.place.error(f"expected a list, got {tree.kind}")
    elements: list[Tree] = tree.value
    return elements


def entries(tree: Tree) -> dict[str, Tree]:
    """Return the children of a map with free keys."""
    if not isinstance(tree.value, dict):
        raise tree.place.error(f"expected a map, got {tree.kind}")
    children: dict[str, Tree] = tree.value
    return children
