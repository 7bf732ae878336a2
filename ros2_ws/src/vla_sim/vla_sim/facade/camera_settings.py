# SPDX-License-Identifier: Apache-2.0

"""The parameters of the simulated cameras' drivers: nodes named and parametrised as realsense2_camera's or depthai_ros_driver's.

depthai_ros_driver counts exposure in microseconds, gain as ISO and has switches to the manual modes (sensor_param_handler.cpp,
rgb.r_*); what its defaults show is what a RealSense shows at its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from vla_common.executor import ExecutorThread
from vla_common.run import ManagedNode
from vla_core.specs import CameraSpec

from vla_sim.exposure import DEFAULT_EXPOSURE, DEFAULT_GAIN, DEFAULT_WHITE_BALANCE, Sensor


def _integers(low: int, high: int, text: str) -> ParameterDescriptor:
    return ParameterDescriptor(description=text, integer_range=[IntegerRange(from_value=low, to_value=high, step=1)])


def _numbers(low: float, high: float, text: str) -> ParameterDescriptor:
    step = FloatingPointRange(from_value=low, to_value=high, step=0.0)
    return ParameterDescriptor(description=text, floating_point_range=[step])


@dataclass(frozen=True, kw_only=True)
class Number:
    """A setting with a value.

    Attributes:
        parameter: Its name at the driver.
        mode: Name of the switch that must be manual before it can be set.
        default: The driver's value.
        shown: What the sensor has at that value, in the sensor's unit.
        descriptor: Range and meaning.
    """

    parameter: str
    mode: str
    default: float
    shown: float
    descriptor: ParameterDescriptor


@dataclass(frozen=True, kw_only=True)
class DriverSettings:
    """The colour settings of one kind of driver.

    Attributes:
        numbers: By the sensor's own name.
        automatic: By the sensor's name of the mode: name of the switch.
        means_automatic: Value of a switch with which the mode is automatic.
    """

    numbers: Mapping[str, Number]
    automatic: Mapping[str, str]
    means_automatic: bool


_AUTO_EXPOSURE, _AUTO_WHITE_BALANCE = "rgb_camera.enable_auto_exposure", "rgb_camera.enable_auto_white_balance"
_MANUAL_EXPOSURE, _MANUAL_WHITE_BALANCE = "rgb.r_set_man_exposure", "rgb.r_set_man_whitebalance"
DRIVERS: Mapping[str, DriverSettings] = {
    "realsense": DriverSettings(
        numbers={
            "exposure": Number(
                parameter="rgb_camera.exposure",
                mode=_AUTO_EXPOSURE,
                default=DEFAULT_EXPOSURE,
                shown=DEFAULT_EXPOSURE,
                descriptor=_integers(1, 10000, "Exposure of the colour sensor [100 us]."),
            ),
            "gain": Number(
                parameter="rgb_camera.gain",
                mode=_AUTO_EXPOSURE,
                default=DEFAULT_GAIN,
                shown=DEFAULT_GAIN,
                descriptor=_integers(0, 128, "Gain of the colour sensor."),
            ),
            "white_balance": Number(
                parameter="rgb_camera.white_balance",
                mode=_AUTO_WHITE_BALANCE,
                default=DEFAULT_WHITE_BALANCE,
                shown=DEFAULT_WHITE_BALANCE,
                descriptor=_numbers(2800.0, 6500.0, "White balance [K]."),
            ),
        },
        automatic={"auto_exposure": _AUTO_EXPOSURE, "auto_white_balance": _AUTO_WHITE_BALANCE},
        means_automatic=True,
    ),
    "depthai": DriverSettings(
        numbers={
            "exposure": Number(
                parameter="rgb.r_exposure",
                mode=_MANUAL_EXPOSURE,
                default=20000,
                shown=DEFAULT_EXPOSURE,
                descriptor=_integers(1, 33000, "Exposure of the colour sensor [us]."),
            ),
            "gain": Number(
                parameter="rgb.r_iso",
                mode=_MANUAL_EXPOSURE,
                default=800,
                shown=DEFAULT_GAIN,
                descriptor=_integers(100, 1600, "Gain of the colour sensor [ISO]."),
            ),
            "white_balance": Number(
                parameter="rgb.r_whitebalance",
                mode=_MANUAL_WHITE_BALANCE,
                default=round(DEFAULT_WHITE_BALANCE),
                shown=DEFAULT_WHITE_BALANCE,
                descriptor=_integers(1000, 12000, "White balance [K]."),
            ),
        },
        automatic={"auto_exposure": _MANUAL_EXPOSURE, "auto_white_balance": _MANUAL_WHITE_BALANCE},
        means_automatic=False,
    ),
}
"""By the profile's ``cameras.<name>.settings``."""


class SettingsNode(Node):
    """The node of one camera's driver, with the settings of its colour sensor.

    Automatic modes are off at the start, so that the images of an episode follow from its seed.
    """

    def __init__(self, owner: Node, name: str, sensor: Sensor, driver: DriverSettings) -> None:
        namespace, _, base = name.rpartition("/")
        root = owner.get_namespace().rstrip("/")
        full = namespace if name.startswith("/") else f"{root}/{namespace}".rstrip("/")
        # The command line names the cell's node; these keep their own names.
        super().__init__(base, context=owner.context, namespace=full or "/", use_global_arguments=False,
                         enable_rosout=False)  # fmt: skip
        self._sensor, self._driver = sensor, driver
        for number in driver.numbers.values():
            self.declare_parameter(number.parameter, number.default, number.descriptor)
        for mode, switch in driver.automatic.items():
            text = f"{mode.removeprefix('auto_').replace('_', ' ').capitalize()} follows the image: {driver.means_automatic}."
            self.declare_parameter(switch, not driver.means_automatic, ParameterDescriptor(description=text))
        self.add_on_set_parameters_callback(self._check)
        self.add_post_set_parameters_callback(self._apply)

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        switches = {name: self.get_parameter(name).value for name in self._driver.automatic.values()}
        switches |= {parameter.name: parameter.value for parameter in parameters if parameter.name in switches}
        held = {number.parameter: number.mode for number in self._driver.numbers.values()}
        for parameter in parameters:
            mode = held.get(parameter.name)
            if mode is not None and switches[mode] is self._driver.means_automatic:
                reason = f"{parameter.name} cannot be set while {mode} is {str(self._driver.means_automatic).lower()}"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: Sequence[Parameter]) -> None:
        modes = {switch: mode for mode, switch in self._driver.automatic.items()}
        names = {number.parameter: name for name, number in self._driver.numbers.items()}
        for parameter in parameters:
            if parameter.name in modes:
                self._switch(modes[parameter.name], parameter.value is self._driver.means_automatic)
            elif parameter.name in names:
                number = self._driver.numbers[names[parameter.name]]
                value = parameter.value * number.shown / number.default
                setattr(self._sensor, names[parameter.name], value)

    def _switch(self, mode: str, automatic: bool) -> None:
        if automatic:
            {
                "auto_exposure": self._sensor.start_auto_exposure,
                "auto_white_balance": self._sensor.start_auto_white_balance,
            }[mode]()
        else:
            setattr(self._sensor, mode, False)


class SettingsNodes:
    """The drivers' nodes of all cameras, served by a thread of their own so that the cell's executor stays short."""

    def __init__(self, owner: ManagedNode, cameras: Mapping[str, CameraSpec]) -> None:
        self.sensors = {name: Sensor() for name in cameras}
        self._nodes = [
            SettingsNode(owner, spec.node, self.sensors[name], DRIVERS[spec.settings])
            for name, spec in cameras.items()
            if spec.settings in DRIVERS
        ]
        self._thread = (
            ExecutorThread(*self._nodes, context=owner.context, name="camera settings") if self._nodes else None
        )

    def close(self) -> None:
        """Stop serving."""
        if self._thread is not None:
            self._thread.close()
        for node in self._nodes:
            node.destroy_node()
