# SPDX-License-Identifier: Apache-2.0

"""Simulated UR5e cell with the interfaces of the real drivers, and a scripted expert."""
