# SPDX-License-Identifier: Apache-2.0

"""Clean-room subset of the ROS 2 package ``launch_testing`` for machines that do not have it.

A test module defines ``generate_test_description()`` and unittest classes; the processes run while the classes do,
those marked with :func:`post_shutdown_test` run after. Under pytest the function carries ``@pytest.mark.launch_test``
and the plugin ``launch_testing.pytest.hooks`` is active; without pytest it is ``python -m launch_testing.launch_test FILE``.
"""

from launch_testing import actions, asserts, markers, util
from launch_testing.io_handler import ActiveIoHandler, IoHandler
from launch_testing.marks import parametrize, post_shutdown_test
from launch_testing.proc_info_handler import ActiveProcInfoHandler, ProcInfoHandler

__all__ = [
    "ActiveIoHandler",
    "ActiveProcInfoHandler",
    "IoHandler",
    "ProcInfoHandler",
    "actions",
    "asserts",
    "markers",
    "parametrize",
    "post_shutdown_test",
    "util",
]
