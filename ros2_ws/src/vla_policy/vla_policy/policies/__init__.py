# SPDX-License-Identifier: Apache-2.0

"""Policies: finding, checking and loading them; each is a `PolicyRunner`."""
