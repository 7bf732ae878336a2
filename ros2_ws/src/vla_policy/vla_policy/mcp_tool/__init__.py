# SPDX-License-Identifier: Apache-2.0

"""The policy node as a tool of the Model Context Protocol."""
