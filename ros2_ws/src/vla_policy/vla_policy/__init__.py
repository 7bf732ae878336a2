# SPDX-License-Identifier: Apache-2.0

"""Policy node: observations in, action chunks out as trajectory goals; training launcher."""
