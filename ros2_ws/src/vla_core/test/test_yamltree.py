# SPDX-License-Identifier: Apache-2.0

import pytest
from vla_core.errors import ProfileError
from vla_core.yamltree import Section, entries, items, merge, number, parse, text


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("a: 1\na: 2\n", r"f.yaml:2: a: duplicate key 'a', first on line 1; remove one of them"),
        ("a:\n  b: 1\n  b: 2\n", r"f.yaml:3: a.b: duplicate key 'b', first on line 2"),
        ("a: [1, 2\n", r"f.yaml:2: not valid YAML: .*expected ',' or '\]'"),
        ("a: 1\n---\nb: 2\n", r"not valid YAML: expected a single document"),
        ("a: \x07\n", r"f.yaml: not valid YAML: .*special characters"),
        ("base: &b {x: 1}\nc:\n  <<: *b\n", r"f.yaml:3: c: the merge key '<<' is not supported"),
        ("? [1, 2]\n: 3\n", "a key must be a plain word"),
        ("on: 1\n", "YAML does not read the key 'on' as text; put it in quotes"),
        ("a: 010\n", "'010' is an integer in disguise"),
        ("a: 1:30\n", "'1:30' is an integer in disguise"),
        ("a: 0x1F\n", "integer in disguise"),
        ("a: 1_000\n", "integer in disguise"),
        ("a: 1:30.5\n", "'1:30.5' is a base-60 or grouped number"),
        ("a: !!set {b}\n", None),
        ("a: !mine 3\n", "YAML tag '!mine' is not supported"),
        ("a: &x [*x]\n", r"a\[0\]: an alias \(\*name\) contains itself"),
    ],
)
def test_refused(source, message):
    if message is None:
        assert parse(source, "f.yaml").plain() == {"a": {"b": None}}
        return
    with pytest.raises(ProfileError, match=message):
        parse(source, "f.yaml")


def test_plain_values_and_places():
    tree = parse("a: {b: [1, 2.5, true, ~, 2020-01-02, 'off', -.inf, yes]}\n", "f.yaml")
    assert tree.plain() == {"a": {"b": [1, 2.5, True, None, "2020-01-02", "off", float("-inf"), True]}}
    element = tree.value["a"].value["b"].value[1]
    assert str(element.place.error("x")) == "f.yaml:1: a.b[1]: x"
    assert parse("a: &x {b: 1}\nc: *x\n", "f").plain() == {"a": {"b": 1}, "c": {"b": 1}}


def test_merge_replaces_lists_and_scalars():
    base, over = parse("a: {x: 1, y: [1, 2]}\nb: 2\n", "base"), parse("a: {y: [3]}\nb: {c: 1}\n", "over")
    merged = merge(base, over)
    assert merged.plain() == {"a": {"x": 1, "y": [3]}, "b": {"c": 1}}
    assert merged.value["a"].value["x"].place.source == "base"
    assert merged.value["a"].value["y"].place.source == "over"


def test_typed_access():
    section = Section(parse("a: 1\nb: x\nc: [1, 2]\nd: {e: f}\ng: ''\n", "f"), ("a", "b", "c", "d", "g", "h"))
    assert section.number("a", above=0.0) == 1.0
    assert section.number("h", 3.0) == 3.0
    assert section.text("h", "default") == "default"
    assert section.flag("h", True) is True
    assert section.choice("b", ("x", "y")) == "x"
    assert section.numbers("c") == (1.0, 2.0)
    assert list(entries(section.child("d"))) == ["e"]
    assert len(items(section.child("c"))) == 2
    with pytest.raises(ProfileError, match="f:5: g: the text is empty"):
        section.text("g")
    with pytest.raises(ProfileError, match="d: expected text, got a map"):
        text(section.child("d"))
    with pytest.raises(ProfileError, match="c: expected a map, got a list"):
        entries(section.child("c"))
    with pytest.raises(ProfileError, match="c: expected a number, got a list"):
        number(section.child("c"))
    with pytest.raises(ProfileError, match="a: expected true or false, got the integer 1"):
        section.flag("a", False)
    with pytest.raises(ProfileError, match=r"f:1: h: missing key; it has no default"):
        section.child("h")
