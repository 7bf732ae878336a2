# SPDX-License-Identifier: Apache-2.0

"""Error of a substitution that has no value."""


class SubstitutionFailure(Exception):  # noqa: N818 - name of the original
    """A substitution cannot be evaluated in this context."""
