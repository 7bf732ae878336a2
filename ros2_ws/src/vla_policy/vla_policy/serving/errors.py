# SPDX-License-Identifier: Apache-2.0

"""What can be wrong with a message, an observation or a session, told apart by who has to act.

WireError              a message that cannot be packed or unpacked
ObservationError       a message that can be read and is not an observation of the served policy
ReplyError             an answer of a server that is not a chunk of actions for the profile
"""

from vla_core.errors import VlaError

from vla_policy.policies.runner import InferenceError


class WireError(VlaError):
    """A message that cannot be packed or unpacked; names the dtype, the shape or the damage."""


class ObservationError(VlaError):
    """An observation that lacks a key, or has one of another shape, dtype or value; names the key."""


class ReplyError(InferenceError):
    """A server's answer that is not a chunk of actions for the profile; names what was expected."""
