# SPDX-License-Identifier: Apache-2.0

"""Python classes of interfaces by their full name, such as ``std_msgs/msg/String``."""

import importlib
from typing import Any

_KIND_NAMES = {"msg": "message", "srv": "service", "action": "action"}


def get_message(identifier: str) -> type[Any]:
    """Return the class of the message ``package/msg/Name`` (or ``package/Name``).

    Raises:
        ValueError: the text is not such a name.
        ModuleNotFoundError: the package cannot be imported.
        AttributeError: the package has no such message.
    """
    return _load(identifier, "msg")


def get_service(identifier: str) -> type[Any]:
    """Return the class of the service ``package/srv/Name`` (or ``package/Name``); errors as :func:`get_message`."""
    return _load(identifier, "srv")


def get_action(identifier: str) -> type[Any]:
    """Return the class of the action ``package/action/Name`` (or ``package/Name``); errors as :func:`get_message`."""
    return _load(identifier, "action")


def get_interface(identifier: str) -> type[Any]:
    """Return the class of ``package/msg|srv|action/Name``; errors as :func:`get_message`."""
    for kind, is_kind in (("msg", is_message), ("srv", is_service), ("action", is_action)):
        if is_kind(identifier):
            return _load(identifier, kind)
    msg = f"Expected the full name of an interface, got '{identifier}'"
    raise ValueError(msg)


def is_message(identifier: str) -> bool:
    """Tell whether the text has the form of a message's full name; nothing is looked up."""
    return _is_kind(identifier, "msg")


def is_service(identifier: str) -> bool:
    """Tell whether the text has the form of a service's full name; nothing is looked up."""
    return _is_kind(identifier, "srv")


def is_action(identifier: str) -> bool:
    """Tell whether the text has the form of an action's full name; nothing is looked up."""
    return _is_kind(identifier, "action")


def _is_kind(identifier: str, kind: str) -> bool:
    parts = identifier.split("/")
    return len(parts) == 3 and parts[1] == kind and all(parts)


def _load(identifier: str, kind: str) -> type[Any]:
    parts = identifier.split("/")
    if len(parts) == 2:
        parts = [parts[0], kind, parts[1]]
    if not _is_kind("/".join(parts), kind):
        msg = f"Expected the full name of a {_KIND_NAMES[kind]}, got '{identifier}'"
        raise ValueError(msg)
    module = importlib.import_module(".".join(parts[:2]))
    loaded: type[Any] = getattr(module, parts[2])
    # the generator offers e.g. String_Request beside the classes; only a type with type support is an interface
    if not hasattr(type(loaded), "__import_type_support__"):
        msg = f"'{'/'.join(parts)}' is not a {_KIND_NAMES[kind]}"
        raise AttributeError(msg)
    return loaded
