# SPDX-License-Identifier: Apache-2.0

"""Episode recorder and bag-to-dataset converter."""
