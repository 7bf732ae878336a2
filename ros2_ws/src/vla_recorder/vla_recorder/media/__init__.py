# SPDX-License-Identifier: Apache-2.0

"""Images and video: encode, copy, count, measure."""
