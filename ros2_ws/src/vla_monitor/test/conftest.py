# SPDX-License-Identifier: Apache-2.0

import vla_sim.rendering  # noqa: F401  (chooses the OpenGL backend, which must be done before any test loads mujoco)
