# SPDX-License-Identifier: Apache-2.0

"""Launch tests under pytest; activate with ``-p launch_testing.pytest.hooks``."""
