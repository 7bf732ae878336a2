# SPDX-License-Identifier: Apache-2.0

"""Commands on recorded bags and on datasets, one module each."""
