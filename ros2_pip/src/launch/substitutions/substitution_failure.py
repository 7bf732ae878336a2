# SPDX-License-Identifier: Apache-2.0

"""Error of a substitution that has no value."""


class SubstitutionFailure(Exception):
    """A substitution cannot be evaluated in this context."""
