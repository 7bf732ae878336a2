# SPDX-License-Identifier: Apache-2.0

"""Seeing what happens: markers, transforms and rerun. Nothing here commands anything."""
