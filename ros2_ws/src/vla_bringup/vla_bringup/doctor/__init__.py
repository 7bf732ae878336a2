# SPDX-License-Identifier: Apache-2.0

"""What is wrong with this machine, this profile and this graph, and what to do about it: doctor and check_profile."""
