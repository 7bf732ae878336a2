# SPDX-License-Identifier: Apache-2.0

"""The operator page: what the robot, the recorder and the policy do, in a browser."""
