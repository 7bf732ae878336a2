# SPDX-License-Identifier: Apache-2.0

"""Policies by name: entry points of the group `vla_policy.policies`.

A package adds a policy of its own by one class and one line in its setup.py::

    entry_points={"vla_policy.policies": ["my_policy = my_package.my_module:load"]}

where `load` is a `PolicyFactory`. A policy's module is imported only when the policy is asked for, so that a remote or a
scripted policy needs none of the model libraries.
"""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from vla_core.errors import CheckpointError, listing, nearest_name

from vla_policy.policies.runner import Loaded, LoadRequest, PolicyFactory

GROUP = "vla_policy.policies"
MEMBERS = ("n_action_steps", "chunk_size", "guidable", "description", "reset", "infer", "close")


def installed() -> dict[str, EntryPoint]:
    """Name to entry point of every policy that an installed package offers, in alphabetical order."""
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    return dict(sorted(found.items()))


def find_policy(name: str) -> PolicyFactory:
    """The factory of the policy `name`.

    Raises:
        CheckpointError: no installed package offers it (the message lists what there is), or its module cannot be
            imported.
    """
    policies = installed()
    if name not in policies:
        raise CheckpointError(
            f"policy '{name}': no installed package offers it{nearest_name(name, policies)}. Installed are: "
            f"{listing(policies)} (entry points of the group '{GROUP}'; build and source the workspace after adding one)."
        )
    entry = policies[name]
    try:
        factory: PolicyFactory = entry.load()
    except (ImportError, AttributeError) as error:
        raise CheckpointError(
            f"policy '{name}': its entry point {entry.value} cannot be imported: {error}. Install what it needs, or "
            f"choose another of {listing(policies)}."
        ) from error
    return factory


def load_policy(name: str, request: LoadRequest) -> Loaded:
    """Make the policy `name` and check that it keeps the contract of `PolicyRunner`.

    Raises:
        CheckpointError: it is unknown, cannot be made, or what was made is no policy.
    """
    return checked(find_policy(name)(request), name)


def checked(loaded: Loaded, name: str) -> Loaded:
    """`loaded`, after a look at what a run relies on.

    Raises:
        CheckpointError: a member of `PolicyRunner` is missing, or its numbers contradict each other.
    """
    runner = loaded.runner
    missing = [member for member in MEMBERS if not hasattr(runner, member)]
    if missing:
        raise CheckpointError(
            f"policy '{name}': {type(runner).__name__} lacks {listing(missing)}; see PolicyRunner in "
            f"vla_policy/policies/runner.py."
        )
    if not 1 <= runner.n_action_steps <= runner.chunk_size:
        raise CheckpointError(
            f"policy '{name}': executes {runner.n_action_steps} steps of chunks of {runner.chunk_size}; n_action_steps "
            f"must lie between 1 and the chunk size."
        )
    return loaded


def parse_pairs(text: str, separator: str, parameter: str) -> dict[str, str]:
    """Read `a:b,c:d` or `key=value,…`.

    Args:
        text: The text; empty gives an empty mapping. Spaces around names do not count.
        separator: Between the two halves of a pair.
        parameter: Name of the parameter, for the message.

    Raises:
        CheckpointError: a part has not the form, or a name comes twice.
    """
    pairs: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, found, value = (half.strip() for half in part.partition(separator))
        if not (key and found and value):
            raise CheckpointError(
                f"parameter '{parameter}': '{part}' is not of the form name{separator}value; write for example "
                f'{parameter}:="a{separator}b,c{separator}d".'
            )
        if key in pairs:
            raise CheckpointError(f"parameter '{parameter}': '{key}' is named twice in \"{text}\".")
        pairs[key] = value
    return pairs


def refuse_options(options: Mapping[str, Any], known: Mapping[str, str], policy: str) -> None:
    """Refuse options that a policy does not know, so that a typo is never a default.

    Args:
        options: What was given.
        known: Name to meaning of the policy's own options.
        policy: Its name, for the message.

    Raises:
        CheckpointError: names the options and lists the known ones.
    """
    unknown = sorted(set(options) - set(known))
    if unknown:
        meanings = "; ".join(f"{name}: {meaning}" for name, meaning in known.items()) or "none"
        raise CheckpointError(
            f"policy '{policy}': unknown option {', '.join(map(repr, unknown))}{nearest_name(unknown[0], known)}. "
            f"Its options are: {meanings}."
        )
