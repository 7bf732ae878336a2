# SPDX-License-Identifier: Apache-2.0

import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(1, 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("OMP_NUM_THREADS", "1")
