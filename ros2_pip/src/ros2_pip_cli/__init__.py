# SPDX-License-Identifier: Apache-2.0

"""The ``ros2`` command for an environment of Python wheels: one module per verb, imported when it is called."""
