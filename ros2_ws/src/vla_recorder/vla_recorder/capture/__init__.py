# SPDX-License-Identifier: Apache-2.0

"""Recording: topics in, one bag per episode out."""
