# SPDX-License-Identifier: Apache-2.0

"""Base of events."""


class Event:
    """Something that happened; handlers match it by its class and attributes."""

    name = "launch.Event"
