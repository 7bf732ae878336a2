# SPDX-License-Identifier: Apache-2.0

"""Images between ROS messages and NumPy arrays, with the Python interface of cv_bridge.

Same names, results and refusals as the real package. Left out: `cvtColorForDisplay`.
"""

from cv_bridge._encodings import CvBridgeError, getCvType
from cv_bridge.core import CvBridge

__all__ = ["CvBridge", "CvBridgeError", "getCvType"]
