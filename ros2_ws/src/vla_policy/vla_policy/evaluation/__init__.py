# SPDX-License-Identifier: Apache-2.0

"""Is a trained policy any good, and better than another one? `evaluate`, `compare`, and the statistics behind them."""
