# SPDX-License-Identifier: Apache-2.0

"""YAML in the look of rosbag2: block style, indented sequences, double quotes, `~` for nothing, order kept.

Reading gives every scalar as text, so that a value such as `1e3` or `off` in `custom_data` stays what it was.
"""

from __future__ import annotations

from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    tag = dumper.resolve(yaml.ScalarNode, value, (True, False))  # type: ignore[no-untyped-call]
    plain = value and tag == "tag:yaml.org,2002:str"
    style = None if plain and dumper.analyze_scalar(value).allow_block_plain else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _nothing(dumper: yaml.SafeDumper, _: None) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:null", "~")


_Dumper.add_representer(str, _text)
_Dumper.add_representer(type(None), _nothing)


def dump(value: Any) -> str:
    """Return YAML text of nested dicts, lists, strings, integers and None."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=2**31)


def load(text: str) -> Any:
    """Return nested dicts and lists with all scalars as strings.

    Raises:
        yaml.YAMLError: the text is not YAML.
    """
    return yaml.load(text, Loader=yaml.BaseLoader)
