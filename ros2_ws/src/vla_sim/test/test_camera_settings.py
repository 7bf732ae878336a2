# SPDX-License-Identifier: Apache-2.0

"""Settings of the simulated cameras: what they do to an image, and their drivers' parameters; the calibration board."""

import random
import threading
from pathlib import Path

import mujoco
import numpy as np
import pytest
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient
from vla_common.params import overrides
from vla_common.services import wait_future
from vla_core.boards import BoardError, parse_board
from vla_sim.board import Plate
from vla_sim.cell import Cell
from vla_sim.exposure import DEFAULT_EXPOSURE, Sensor
from vla_sim.facade.camera_settings import DRIVERS, SettingsNode
from vla_sim.sim_node import CellNode

PROFILE = Path(__file__).parents[2] / "vla_bringup" / "robots" / "sim_ur5e_tiny.yaml"
GREY = np.full((4, 5, 3), 100, np.uint8)


def test_default_settings_change_nothing():
    assert Sensor().expose(GREY, 1.0) is GREY


@pytest.mark.parametrize(
    ("settings", "light", "expected"),
    [
        ({"exposure": 2 * DEFAULT_EXPOSURE}, 1.0, (200, 200, 200)),
        ({"gain": 32}, 1.0, (50, 50, 50)),
        ({}, 1.5, (150, 150, 150)),
        ({"exposure": 10000}, 1.0, (255, 255, 255)),
    ],
)
def test_brightness_follows_exposure_gain_and_light(settings, light, expected):
    assert tuple(Sensor(**settings).expose(GREY, light)[0, 0]) == expected


def test_white_balance_above_the_lights_is_warm_and_below_it_cold():
    red, green, blue = Sensor(white_balance=6000.0).expose(GREY, 1.0)[0, 0]
    assert red > green == 100 > blue
    red, green, blue = Sensor(white_balance=3000.0).expose(GREY, 1.0)[0, 0]
    assert red < green == 100 < blue


def test_automatic_exposure_finds_its_brightness_over_some_frames_and_keeps_the_manual_value():
    sensor = Sensor()
    sensor.start_auto_exposure()
    means = [float(sensor.expose(GREY, 3.0).mean()) for _ in range(40)]
    assert means[0] == 255.0
    assert means[-1] == pytest.approx(0.45 * 255, rel=0.02)
    assert sensor.exposure == DEFAULT_EXPOSURE  # as the driver: what was found is not told


def test_automatic_white_balance_finds_the_lights_colour():
    sensor = Sensor(white_balance=6500.0)
    sensor.start_auto_white_balance()
    images = [sensor.expose(GREY, 1.0) for _ in range(40)]
    assert images[0][0, 0, 0] > 110
    assert tuple(images[-1][0, 0]) == (100, 100, 100)


@pytest.fixture(scope="module")
def drivers():
    """Clients of both cameras' parameters, and the cell."""
    context = Context()
    rclpy.init(context=context, domain_id=random.SystemRandom().randint(1, 100))
    values = {"profile": str(PROFILE), "clock_mode": "paced"}
    cell = CellNode(context=context, parameter_overrides=overrides(values), namespace="left")
    node = Node("client", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    clients = {name: AsyncParameterClient(node, f"/left/{name}_camera") for name in ("front", "wrist")}
    assert all(client.wait_for_services(20.0) for client in clients.values())
    yield clients, cell
    executor.shutdown()
    thread.join()
    cell.close()
    node.destroy_node()
    cell.destroy_node()
    rclpy.try_shutdown(context=context)


def put(client, **values):
    parameters = [Parameter(f"rgb_camera.{name}", value=value) for name, value in values.items()]
    return wait_future(client.set_parameters(parameters), 10.0, "set").results


def test_each_camera_has_a_node_with_parameters_in_the_cells_namespace(drivers):
    clients, cell = drivers
    sensors = cell.cameras._settings.sensors
    assert all(result.successful for result in put(clients["front"], exposure=80, gain=20, white_balance=3000.0))
    assert (sensors["front"].exposure, sensors["front"].gain, sensors["front"].white_balance) == (80, 20, 3000.0)
    assert sensors["wrist"].exposure == DEFAULT_EXPOSURE
    (result,) = put(clients["wrist"], exposure=20000)
    assert not result.successful


def test_manual_values_are_refused_while_an_automatic_mode_is_on(drivers):
    clients, cell = drivers
    sensor = cell.cameras._settings.sensors["wrist"]
    assert put(clients["wrist"], enable_auto_exposure=True)[0].successful
    assert sensor.auto_exposure
    (refused,) = put(clients["wrist"], exposure=50)
    assert "rgb_camera.exposure cannot be set while rgb_camera.enable_auto_exposure is true" in refused.reason
    both = put(clients["wrist"], enable_auto_exposure=False, exposure=50)
    assert all(result.successful for result in both)
    assert (sensor.auto_exposure, sensor.exposure) == (False, 50)


@pytest.mark.parametrize(("place", "camera"), [("table", "front"), ("table", "wrist"), ("tool", "front")])
def test_the_board_is_where_the_cell_says(place, camera):
    """The points of the board, projected by the truth, are where the picture shows them."""
    plate = Plate(parse_board("charuco:5x7:0.04:0.03"), place)
    cell = Cell({camera: (480, 640)}, plate=plate)
    if place == "tool":  # the gripper points at the front camera
        cell._data.qpos[cell._arm_q] = [-0.627, -1.355, 2.385, -1.725, 1.048, -1.186]
    if camera == "wrist":
        cell._data.qpos[cell._arm_q] = [0.132, -1.559, 1.92, -1.94, -1.514, 0.132]
    mujoco.mj_forward(cell._model, cell._data)
    points, pixels = plate.board.detect(cell.render(camera))
    cell.close_renderer()
    assert len(points) >= 8
    info = cell.camera_info(camera)
    optical = cell._model.camera(camera).id
    R_world_camera = cell._data.cam_xmat[optical].reshape(3, 3) @ np.diag([1.0, -1.0, -1.0])
    parent = cell._data.body(plate.parent)
    on_parent = points @ plate.T_parent_board[:3, :3].T + plate.T_parent_board[:3, 3]
    in_world = on_parent @ parent.xmat.reshape(3, 3).T + parent.xpos
    in_camera = (in_world - cell._data.cam_xpos[optical]) @ R_world_camera
    K = np.array(info["k"]).reshape(3, 3)
    expected = (in_camera / in_camera[:, 2:]) @ K.T
    assert np.abs(expected[:, :2] - pixels).max() < 1.0  # where the gripper covers a part of a corner
    assert np.abs(np.median(expected[:, :2] - pixels, axis=0)).max() < 0.1


def test_a_board_that_cannot_be_read_stops_the_cell():
    context = Context()
    rclpy.init(context=context, domain_id=3)
    try:
        with pytest.raises(BoardError, match="write charuco:COLUMNSxROWS"):
            CellNode(context=context, parameter_overrides=overrides({"profile": str(PROFILE), "board": "chess:5x7"}))
    finally:
        rclpy.try_shutdown(context=context)


def test_an_oak_camera_has_the_settings_of_its_own_driver():
    context = Context()
    rclpy.init(context=context, domain_id=random.SystemRandom().randint(1, 100))
    sensor = Sensor()
    owner = Node("cell", context=context)
    node = SettingsNode(owner, "base_camera", sensor, DRIVERS["depthai"])
    try:
        names = [
            "rgb.r_exposure",
            "rgb.r_iso",
            "rgb.r_whitebalance",
            "rgb.r_set_man_exposure",
            "rgb.r_set_man_whitebalance",
        ]
        assert [node.get_parameter(name).value for name in names] == [20000, 800, 4600, True, True]
        node.set_parameters([Parameter("rgb.r_exposure", value=30000), Parameter("rgb.r_iso", value=400)])
        assert (sensor.exposure, sensor.gain) == (1.5 * DEFAULT_EXPOSURE, 32)
        assert tuple(sensor.expose(GREY, 1.0)[0, 0]) == (75, 75, 75)
        node.set_parameters([Parameter("rgb.r_set_man_exposure", value=False)])
        assert sensor.auto_exposure
        (refused,) = node.set_parameters([Parameter("rgb.r_exposure", value=100)])
        assert refused.reason == "rgb.r_exposure cannot be set while rgb.r_set_man_exposure is false"
        node.set_parameters([Parameter("rgb.r_set_man_exposure", value=True), Parameter("rgb.r_exposure", value=20000)])
        assert not sensor.auto_exposure
        assert sensor.exposure == DEFAULT_EXPOSURE
    finally:
        node.destroy_node()
        owner.destroy_node()
        context.try_shutdown()
