# SPDX-License-Identifier: Apache-2.0

"""Teleoperation devices: what a person holds becomes commands and events."""
