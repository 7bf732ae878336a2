# SPDX-License-Identifier: Apache-2.0

"""Images: size, content, threads, and what is said where OpenGL is missing."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from vla_sim.cell import Cell
from vla_sim.errors import SceneError


@pytest.fixture(scope="module")
def cell():
    return Cell({"front": (96, 96), "wrist": (60, 80)}, seed=2)


def red_pixels(image):
    values = image.astype(int)
    return int(((values[..., 0] > 100) & (values[..., 1] < 60) & (values[..., 2] < 60)).sum())


def test_images_have_the_asked_size_and_show_the_block(cell):
    for camera, size in cell.cameras.items():
        image = cell.render(camera)
        assert image.shape == (*size, 3)
        assert image.dtype == np.uint8
        assert image.flags.c_contiguous
        assert red_pixels(image) > 10


def test_snapshot_is_drawn_as_the_scene_was(cell):
    cell.reset(2)
    snapshot, image = cell.snapshot(), cell.render("front")
    assert snapshot.time_ns == cell.time_ns
    cell.reset(3)
    cell.step(20)
    assert not np.array_equal(cell.render("front"), image)
    np.testing.assert_array_equal(cell.render("front", snapshot), image)


def test_another_thread_draws_the_same_image_while_physics_goes_on(cell):
    cell.reset(2)
    snapshot, image = cell.snapshot(), cell.render("wrist")
    drawn = []

    def draw():
        drawn.extend(cell.render("wrist", snapshot) for _ in range(20))
        cell.close_renderer()

    thread = threading.Thread(target=draw)
    thread.start()
    while thread.is_alive():
        cell.step(5)
    thread.join()
    assert len(drawn) == 20
    assert all(np.array_equal(other, image) for other in drawn)


def test_unknown_camera_is_named(cell):
    with pytest.raises(SceneError, match="unknown camera 'rear' of the simulated cell; it has: front, wrist"):
        cell.render("rear")


def run_python(code, **env):
    clean = {k: v for k, v in os.environ.items() if k not in ("MUJOCO_GL", "DISPLAY", "LP_NUM_THREADS")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**clean, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def test_headless_default_is_egl_with_one_rasteriser_thread():
    code = "import os, vla_sim.cell; print(os.environ['MUJOCO_GL'], os.environ['LP_NUM_THREADS'])"
    assert run_python(code).stdout.split() == ["egl", "1"]
    assert run_python(code, MUJOCO_GL="egl", LP_NUM_THREADS="2").stdout.split() == ["egl", "2"]


@pytest.mark.parametrize("missing", ["driver", "bindings"])
def test_missing_opengl_names_the_packages(missing):
    code = "import sys; sys.modules['OpenGL'] = None\n" if missing == "bindings" else ""
    code += (
        "from vla_sim.cell import Cell\nfrom vla_sim.errors import RenderError\n"
        "cell = Cell({'front': (96, 96)})\ncell.step()\n"
        "try:\n    cell.render('front')\nexcept RenderError as error:\n    print(error)"
    )
    done = run_python(code, MUJOCO_GL="egl", __EGL_VENDOR_LIBRARY_DIRS="/nonexistent")
    assert "cannot make an off-screen OpenGL context of 96x96 pixels (MUJOCO_GL is egl)" in done.stdout, done.stderr
    assert "apt install libegl1 libgl1-mesa-dri" in done.stdout
    assert "libosmesa6 and set MUJOCO_GL=osmesa" in done.stdout
