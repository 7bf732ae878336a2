# SPDX-License-Identifier: Apache-2.0

"""The operator's day: episodes from start to home, by buttons."""
