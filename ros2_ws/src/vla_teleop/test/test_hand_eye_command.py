# SPDX-License-Identifier: Apache-2.0

"""The command that calibrates hand and eye, against the simulated cell; the board to print; transforms."""

import os
import random
import struct
import zlib

import cv2
import numpy as np
import pytest
import yaml
from camera_cell import CameraCell, write_profile
from rclpy.context import Context
from vla_common.params import overrides
from vla_core.boards import parse_board
from vla_core.kinematics import pose_matrix, rotation_from_rpy
from vla_core.profile import load_profile
from vla_teleop.cameras import calibrate_hand_eye, make_board
from vla_teleop.cameras.camera_frames_node import CameraFramesNode
from vla_teleop.cameras.collect import FrameTap
from vla_teleop.cameras.errors import CameraError
from vla_teleop.cameras.hand_eye import pose_distance
from vla_teleop.cameras.poses import Reach, around
from vla_teleop.cameras.session import session
from vla_teleop.cameras.transforms import (
    mount_from_optical,
    mount_of,
    pose_of,
    read_transforms,
    write_transforms,
)
from vla_teleop.cameras.transforms import (
    write_profile as write_mounted_profile,
)

BOARD = "charuco:5x7:0.04:0.03"
# a link's axes are those of a body (x ahead), the images' those of an optical frame (z ahead); REP-103
OPTICAL_IN_LINK = pose_matrix(np.zeros(3), rotation_from_rpy([-np.pi / 2, 0.0, -np.pi / 2]))


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    return write_profile(tmp_path_factory.mktemp("profile"), (240, 320), 10.0)


def over_the_board(profile):
    """Joints from which the wrist camera sees the board."""
    found = load_profile(profile)
    down = pose_matrix([0.45, 0.14, 0.36], rotation_from_rpy([np.pi - 0.22, 0.0, np.pi / 2]))
    goal = Reach(found).joints_for(down, np.array(found.ready["arm"]))
    assert goal is not None
    return goal


def test_the_robot_goes_round_the_board_and_the_wrist_camera_is_found(profile, tmp_path, capsys):
    cell = CameraCell(profile, board=BOARD, real_time_factor=4.0)
    try:
        cell.place(over_the_board(profile))
        output, mounted = tmp_path / "camera_transforms.yaml", tmp_path / "mounted.yaml"
        command = [
            "--profile",
            str(profile),
            "--camera",
            "wrist",
            "--board",
            BOARD,
            "--auto-poses",
            "9",
            "--wait",
            "30",
        ]
        command += ["--output", str(output), "--profile-output", str(mounted)]
        code = calibrate_hand_eye.main(command, domain_id=cell.domain, ask=lambda question: "yes")
        captured = capsys.readouterr()
        assert code == 0, captured.err + captured.out
        truth = cell.node.cell.camera_info("wrist")["T_parent"]
    finally:
        cell.close()
    mount = read_transforms(output)["wrist"]
    assert (mount.parent, mount.child) == ("tool0", "wrist_camera_link")
    far, turn = pose_distance(pose_of(mount) @ OPTICAL_IN_LINK, truth)
    assert far < 2e-3
    assert np.degrees(turn) < 0.3
    assert "somebody publishes wrist_camera_link in tool0 already" in captured.out
    assert load_profile(mounted).cameras[1].mount == mount


@pytest.mark.skipif(
    os.environ.get("VLA_TEST_FULL") != "1", reason="the same with the other setup; VLA_TEST_FULL=1 runs it"
)
def test_the_robot_shows_the_board_and_the_front_camera_is_found(profile, tmp_path, capsys):
    cell = CameraCell(profile, board=BOARD, board_on="tool", real_time_factor=4.0)
    try:
        cell.place(np.array([-0.627, -1.355, 2.385, -1.725, 1.048, -1.186]))  # the gripper points at the camera
        output = tmp_path / "camera_transforms.yaml"
        command = ["--profile", str(profile), "--camera", "front", "--board", BOARD, "--setup", "eye_to_hand"]
        command += ["--auto-poses", "10", "--yes", "--wait", "30", "--output", str(output)]
        code = calibrate_hand_eye.main(command, domain_id=cell.domain)
        captured = capsys.readouterr()
        assert code == 0, captured.err + captured.out
        truth = cell.node.cell.camera_info("front")["T_parent"]
    finally:
        cell.close()
    mount = read_transforms(output)["front"]
    assert (mount.parent, mount.child) == ("base_link", "front_camera_link")
    far, turn = pose_distance(pose_of(mount) @ OPTICAL_IN_LINK, truth)
    assert far < 2e-3
    assert np.degrees(turn) < 0.3


def test_nothing_moves_without_a_yes(profile, tmp_path, capsys):
    cell = CameraCell(profile, board=BOARD)
    try:
        cell.place(over_the_board(profile))
        before = cell.node.plant.q.copy()
        command = ["--profile", str(profile), "--camera", "wrist", "--board", BOARD, "--auto-poses", "9"]
        code = calibrate_hand_eye.main(command, domain_id=cell.domain, ask=lambda question: "no")
        assert code == 1
        assert "not confirmed; nothing was moved" in capsys.readouterr().err
        assert np.abs(cell.node.plant.q - before).max() < 1e-3
        answers = iter(["", "u", "", "c"])
        code = calibrate_hand_eye.main(command[:-2], domain_id=cell.domain, ask=lambda question: next(answers))
        captured = capsys.readouterr()
        assert code == 1
        assert "1 views are too few; at least 6 are needed" in captured.err
        assert "view 1: " in captured.out
        assert "removed view 1" in captured.out
        assert not (tmp_path / "camera_transforms.yaml").exists()
    finally:
        cell.close()


def test_poses_turn_about_the_pivot_to_all_sides():
    T, pivot = pose_matrix([0.4, 0.1, 0.4], rotation_from_rpy([np.pi, 0.0, 0.3])), np.array([0.0, 0.0, 0.4])
    poses = around(T, pivot, 12)
    away = [pose @ [*pivot, 1.0] - T @ [*pivot, 1.0] for pose in poses]
    assert max(np.linalg.norm(step[:3]) for step in away) < 0.07  # the change of distance, no more
    tilts = np.array([(T[:3, :3].T @ pose[:3, :3])[:2, 2] for pose in poses])
    quadrants = {tuple(np.sign(tilt)) for tilt in tilts}
    assert len(quadrants) == 4
    assert np.degrees(np.arcsin(np.linalg.norm(tilts, axis=1).max())) == pytest.approx(26.0)


def test_a_pose_outside_the_workspace_or_out_of_reach_is_none(profile):
    reach = Reach(load_profile(profile))
    q = np.array(load_profile(profile).ready["arm"])
    down = rotation_from_rpy([np.pi, 0.0, 0.0])
    assert reach.joints_for(pose_matrix([0.45, 0.0, 0.3], down), q) is not None
    assert reach.joints_for(pose_matrix([0.45, 0.0, 0.01], down), q) is None  # below the box
    assert reach.joints_for(pose_matrix([1.4, 0.0, 0.3], down), q) is None


def test_the_mount_places_the_root_of_the_drivers_frames():
    T_link_optical = pose_matrix([0.0, 0.015, 0.0], rotation_from_rpy([-np.pi / 2, 0.0, -np.pi / 2]))
    wanted = pose_matrix([0.1, 0.2, 0.3], rotation_from_rpy([0.3, -0.4, 2.9]))
    static = {
        "cam_color_optical_frame": ("cam_color_frame", T_link_optical),
        "cam_color_frame": ("cam_link", np.eye(4)),
    }
    mount, published = mount_from_optical("tool0", "cam_color_optical_frame", wanted, static)
    assert (mount.parent, mount.child, published) == ("tool0", "cam_link", False)
    assert pose_distance(pose_of(mount) @ T_link_optical, wanted) == pytest.approx((0.0, 0.0), abs=1e-6)
    alone, published = mount_from_optical("tool0", "optical", wanted, {})
    assert (alone.child, published) == ("optical", False)
    _, published = mount_from_optical("tool0", "optical", wanted, {"optical": ("tool0", np.eye(4))})
    assert published
    with pytest.raises(CameraError, match="form a circle"):
        mount_from_optical("tool0", "a", wanted, {"a": ("b", np.eye(4)), "b": ("a", np.eye(4))})


def test_a_transform_file_keeps_the_other_cameras(tmp_path, profile):
    path = tmp_path / "camera_transforms.yaml"
    front = mount_of("base_link", "front_link", pose_matrix([1.0, 0.0, 0.5], rotation_from_rpy([0.1, 0.2, 3.0])))
    wrist = mount_of("tool0", "wrist_link", pose_matrix([0.0, 0.1, 0.0], np.eye(3)))
    write_transforms(path, {"front": front}, "first")
    write_transforms(path, {"wrist": wrist}, "second")
    assert read_transforms(path) == {"front": front, "wrist": wrist}
    assert path.read_text().startswith("# second\ncameras:")
    with pytest.raises(CameraError, match="cannot extend itself"):
        write_mounted_profile(profile, profile, {"wrist": wrist})
    with pytest.raises(CameraError, match="make them with: ros2 run vla_teleop calibrate_hand_eye"):
        read_transforms(tmp_path / "nothing.yaml")


def frames_node(domain, **params):
    context = Context()
    context.init(domain_id=domain)
    try:
        return context, CameraFramesNode(context=context, parameter_overrides=overrides(params))
    except CameraError:
        context.shutdown()
        raise


def test_the_frames_node_publishes_mounts_for_late_listeners(tmp_path, profile):
    domain = random.SystemRandom().randint(1, 100)
    path = tmp_path / "camera_transforms.yaml"
    pose = pose_matrix([0.0, 0.1, 0.05], rotation_from_rpy([0.0, -1.1, 1.57]))
    write_transforms(path, {"wrist": mount_of("tool0", "wrist_camera_link", pose)}, "test")
    context, node = frames_node(domain, profile=str(profile), transforms_file=str(path))
    try:
        with session("listener", domain_id=domain) as listener:
            frames = FrameTap(listener)
            assert frames.wait_for("wrist_camera_link", 15.0)
            parent, T = frames.edges()["wrist_camera_link"]
        assert parent == "tool0"
        assert pose_distance(T, pose) == pytest.approx((0.0, 0.0), abs=1e-6)
    finally:
        node.destroy_node()
        context.shutdown()
    with pytest.raises(CameraError, match="no camera has a mount and no transforms_file is given"):
        frames_node(domain, profile=str(profile))


@pytest.mark.parametrize("text", [BOARD, "apriltag:4x6:0.03:0.008"])
def test_a_printed_board_has_its_size(tmp_path, text, capsys):
    board = parse_board(text)
    assert make_board.main(["--board", text, "--output", str(tmp_path / "board.png"), "--dpi", "300"]) == 0
    data = (tmp_path / "board.png").read_bytes()
    place = data.index(b"pHYs")
    across, down, unit = struct.unpack(">IIB", data[place + 4 : place + 13])
    assert (across, down, unit) == (11811, 11811, 1)  # pixels per metre at 300 dpi
    image = cv2.imread(str(tmp_path / "board.png"), cv2.IMREAD_GRAYSCALE)
    width = (image.shape[1] - 2 * round(0.01 * 11811)) / 11811
    assert width == pytest.approx(board.extent_m[0], abs=1e-4)
    points, pixels = board.detect(image)
    assert len(points) == board.points
    scale = np.linalg.norm(pixels[-1] - pixels[0]) / np.linalg.norm(points[-1] - points[0])
    assert scale == pytest.approx(11811, rel=2e-3)


def test_the_pdf_is_whole_and_at_scale(tmp_path):
    path = tmp_path / "board.pdf"
    assert (
        make_board.main(["--board", "charuco:5x7:0.036:0.027", "--output", str(path), "--paper", "a4", "--dpi", "150"])
        == 0
    )
    data = path.read_bytes()
    assert b"/MediaBox [0 0 595.2756 841.8898]" in data
    assert f"q {0.18 / 0.0254 * 72:.4f} 0 0 {0.252 / 0.0254 * 72:.4f}".encode() in data
    start = int(data[data.rindex(b"startxref") + 10 :].split()[0])
    rows = data[start:].splitlines()[3:9]
    for number, row in enumerate(rows, start=1):
        assert data[int(row[:10]) :].startswith(f"{number} 0 obj".encode())
    stream = data[data.index(b"stream\n") + 7 : data.index(b"\nendstream")]
    assert len(zlib.decompress(stream)) == 1063 * 1488


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", BOARD, "--output", "board.gif"], "the name must end in .png or .pdf"),
        (["--board", "charuco:8x12:0.04:0.03", "--output", "b.pdf", "--paper", "a4"], "does not fit on a4"),
        (["--board", "chess:5x7:0.04:0.03", "--output", "b.png"], "'chess' is no kind of board"),
    ],
)
def test_a_board_that_cannot_be_made_is_refused(arguments, message, capsys):
    assert make_board.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_the_transforms_of_the_file_are_plain_yaml(tmp_path):
    write_transforms(tmp_path / "t.yaml", {"wrist": mount_of("tool0", "link", np.eye(4))}, "note")
    assert yaml.safe_load((tmp_path / "t.yaml").read_text()) == {
        "cameras": {"wrist": {"mount": {"parent": "tool0", "child": "link", "xyz": [0.0] * 3, "rpy": [0.0] * 3}}}
    }
