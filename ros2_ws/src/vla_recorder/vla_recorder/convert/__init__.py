# SPDX-License-Identifier: Apache-2.0

"""Conversion: which episodes, which rows, and the run that makes a dataset of them."""
