# SPDX-License-Identifier: Apache-2.0

"""The guided tour: record, convert, train and run a policy in simulation, and report how well it does."""
