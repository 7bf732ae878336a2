# SPDX-License-Identifier: Apache-2.0

"""Recorded bags: read, repair, turn into frames."""
