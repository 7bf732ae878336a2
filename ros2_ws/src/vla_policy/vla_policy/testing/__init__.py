# SPDX-License-Identifier: Apache-2.0

"""Helpers of tests and benchmarks, which the running system does not import."""
