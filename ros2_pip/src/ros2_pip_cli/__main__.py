# SPDX-License-Identifier: Apache-2.0

"""``python -m ros2_pip_cli`` is ``ros2``."""

import sys

from ros2_pip_cli.main import main

sys.exit(main())
