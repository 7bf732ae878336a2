# SPDX-License-Identifier: Apache-2.0

"""What arguments that may hold substitutions accept."""

from collections.abc import Iterable

from launch.substitution import Substitution

#: Text, a substitution, or several of them whose values are joined without a separator.
SomeSubstitutionsType = str | Substitution | Iterable[str | Substitution]
