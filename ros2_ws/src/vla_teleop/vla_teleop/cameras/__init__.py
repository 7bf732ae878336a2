# SPDX-License-Identifier: Apache-2.0

"""Camera settings, drift between sessions, hand-eye calibration."""
