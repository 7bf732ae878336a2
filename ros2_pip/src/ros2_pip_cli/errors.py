# SPDX-License-Identifier: Apache-2.0

"""Errors of the command line."""


class CliError(RuntimeError):
    """A message for the person at the terminal; the command prints it to stderr and exits with 1."""


class Terminated(BaseException):
    """SIGTERM arrived; like KeyboardInterrupt it is not an error that code should handle as such."""
