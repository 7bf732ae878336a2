# SPDX-License-Identifier: Apache-2.0

"""Dataset formats: one module each, behind the protocol in `base`."""
