# SPDX-License-Identifier: Apache-2.0

"""Peers that speak the protocols of the real devices: for `use_mock_hardware:=true` and for tests."""
