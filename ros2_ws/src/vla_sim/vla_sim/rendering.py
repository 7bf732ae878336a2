# SPDX-License-Identifier: Apache-2.0

"""Off-screen rendering, one set of OpenGL contexts per thread.

A context belongs to the thread that made it, so each thread that renders gets its own on first use and keeps it.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# Both must be in the environment before mujoco and its rasteriser are loaded. One rasteriser thread makes the cost of
# an image predictable and leaves the other cores to the policy.
if not os.environ.get("MUJOCO_GL") and not os.environ.get("DISPLAY"):
    os.environ["MUJOCO_GL"] = "egl"
os.environ.setdefault("LP_NUM_THREADS", "1")

import mujoco
import numpy as np
from numpy.typing import NDArray

from vla_sim.errors import RenderError, SceneError

REMEDY: Final = (
    "Install the packages libegl1 and libgl1-mesa-dri (apt install libegl1 libgl1-mesa-dri), "
    "or libosmesa6 and set MUJOCO_GL=osmesa"
)

Image = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """State of the scene at one moment, enough to draw it later; belongs to the cell that made it."""

    time_ns: int
    qpos: NDArray[np.float64]
    mocap_pos: NDArray[np.float64]
    mocap_quat: NDArray[np.float64]


class _ThreadContext:
    """Scratch data and renderers of one thread."""

    def __init__(self, model: Any, sizes: Mapping[str, tuple[int, int]]) -> None:
        self.data = mujoco.MjData(model)
        self.drawn: Snapshot | None = None
        self.renderers = {size: _make_renderer(model, size) for size in set(sizes.values())}

    def close(self) -> None:
        for renderer in self.renderers.values():
            renderer.close()


def _make_renderer(model: Any, size: tuple[int, int]) -> Any:
    try:
        renderer = mujoco.Renderer(model, *size)
    except (RuntimeError, ImportError, AttributeError, mujoco.FatalError) as error:
        backend = os.environ.get("MUJOCO_GL", "unset")
        raise RenderError(
            f"cannot make an off-screen OpenGL context of {size[1]}x{size[0]} pixels (MUJOCO_GL is {backend}): "
            f"{error}. {REMEDY}"
        ) from error
    for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
        renderer.scene.flags[flag] = False
    return renderer


class SceneRenderer:
    """Draws snapshots of one model; any thread may call `render`, each with its own OpenGL contexts."""

    def __init__(self, model: Any, sizes: Mapping[str, tuple[int, int]]) -> None:
        self._model = model
        self._sizes = dict(sizes)
        self._local = threading.local()

    def render(self, camera: str, snapshot: Snapshot) -> Image:
        """Image (H, W, 3) uint8 RGB of a camera, contiguous.

        Raises:
            SceneError: no such camera.
            RenderError: OpenGL is not usable here; the message names the packages to install.
        """
        size = self._sizes.get(camera)
        if size is None:
            raise SceneError(f"unknown camera '{camera}' of the simulated cell; it has: {', '.join(self._sizes)}")
        context = self._context()
        if context.drawn is not snapshot:
            context.data.qpos[:] = snapshot.qpos
            context.data.mocap_pos[:] = snapshot.mocap_pos
            context.data.mocap_quat[:] = snapshot.mocap_quat
            mujoco.mj_kinematics(self._model, context.data)
            mujoco.mj_comPos(self._model, context.data)
            mujoco.mj_camlight(self._model, context.data)
            context.drawn = snapshot
        renderer = context.renderers[size]
        renderer.update_scene(context.data, camera)
        return np.ascontiguousarray(renderer.render(), dtype=np.uint8)

    def close_thread(self) -> None:
        """Release the OpenGL contexts of the calling thread."""
        context = getattr(self._local, "context", None)
        if context is not None:
            context.close()
            self._local.context = None

    def _context(self) -> _ThreadContext:
        context = getattr(self._local, "context", None)
        if context is None:
            context = self._local.context = _ThreadContext(self._model, self._sizes)
        return context
