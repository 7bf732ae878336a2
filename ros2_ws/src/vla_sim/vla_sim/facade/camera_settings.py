# SPDX-License-Identifier: Apache-2.0

"""The parameters of the simulated cameras' drivers: nodes named and parametrised as realsense2_camera's."""

from collections.abc import Mapping, Sequence

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from vla_common.executor import ExecutorThread
from vla_common.run import ManagedNode
from vla_core.specs import CameraSpec

from vla_sim.exposure import DEFAULT_EXPOSURE, DEFAULT_GAIN, DEFAULT_WHITE_BALANCE, Sensor

PREFIX = "rgb_camera."


def _integers(low: int, high: int, text: str) -> ParameterDescriptor:
    return ParameterDescriptor(description=text, integer_range=[IntegerRange(from_value=low, to_value=high, step=1)])


def _numbers(low: float, high: float, text: str) -> ParameterDescriptor:
    step = FloatingPointRange(from_value=low, to_value=high, step=0.0)
    return ParameterDescriptor(description=text, floating_point_range=[step])


class SettingsNode(Node):
    """The node of one camera's driver, with the settings of its colour sensor.

    Automatic modes are off at the start, so that the images of an episode follow from its seed.
    """

    def __init__(self, owner: Node, name: str, sensor: Sensor) -> None:
        namespace, _, base = name.rpartition("/")
        root = owner.get_namespace().rstrip("/")
        full = namespace if name.startswith("/") else f"{root}/{namespace}".rstrip("/")
        # The command line names the cell's node; these keep their own names.
        super().__init__(base, context=owner.context, namespace=full or "/", use_global_arguments=False,
                         enable_rosout=False)  # fmt: skip
        self._sensor = sensor
        for parameter, value, descriptor in (
            ("exposure", DEFAULT_EXPOSURE, _integers(1, 10000, "Exposure of the colour sensor [100 us].")),
            ("gain", DEFAULT_GAIN, _integers(0, 128, "Gain of the colour sensor.")),
            ("white_balance", DEFAULT_WHITE_BALANCE, _numbers(2800.0, 6500.0, "White balance [K].")),
            ("enable_auto_exposure", False, ParameterDescriptor(description="Exposure follows the image.")),
            ("enable_auto_white_balance", False, ParameterDescriptor(description="White balance follows the light.")),
        ):
            self.declare_parameter(PREFIX + parameter, value, descriptor)
        self.add_on_set_parameters_callback(self._check)
        self.add_post_set_parameters_callback(self._apply)

    def _check(self, parameters: Sequence[Parameter]) -> SetParametersResult:
        automatic = self._values(parameters)
        held = {"exposure": "enable_auto_exposure", "gain": "enable_auto_exposure",
                "white_balance": "enable_auto_white_balance"}  # fmt: skip
        for parameter in parameters:
            mode = held.get(parameter.name.removeprefix(PREFIX))
            if mode is not None and automatic[mode]:
                reason = f"{parameter.name} cannot be set while {PREFIX}{mode} is true"
                return SetParametersResult(successful=False, reason=reason)
        return SetParametersResult(successful=True)

    def _values(self, changed: Sequence[Parameter] = ()) -> dict[str, bool]:
        names = ("enable_auto_exposure", "enable_auto_white_balance")
        values = {name: bool(self.get_parameter(PREFIX + name).value) for name in names}
        return values | {p.name.removeprefix(PREFIX): bool(p.value) for p in changed if p.name.startswith(PREFIX)}

    def _apply(self, parameters: Sequence[Parameter]) -> None:
        for name, value in ((p.name.removeprefix(PREFIX), p.value) for p in parameters):
            if name == "enable_auto_exposure" and value:
                self._sensor.start_auto_exposure()
            elif name == "enable_auto_white_balance" and value:
                self._sensor.start_auto_white_balance()
            elif name.startswith("enable_auto_"):
                setattr(self._sensor, name.removeprefix("enable_"), False)
            elif name in ("exposure", "gain", "white_balance"):
                setattr(self._sensor, name, value)


class SettingsNodes:
    """The drivers' nodes of all cameras, served by a thread of their own so that the cell's executor stays short."""

    def __init__(self, owner: ManagedNode, cameras: Mapping[str, CameraSpec]) -> None:
        self.sensors = {name: Sensor() for name in cameras}
        wanted = {name: spec.node for name, spec in cameras.items() if spec.settings == "realsense"}
        self._nodes = [SettingsNode(owner, node, self.sensors[name]) for name, node in wanted.items()]
        self._thread = (
            ExecutorThread(*self._nodes, context=owner.context, name="camera settings") if self._nodes else None
        )

    def close(self) -> None:
        """Stop serving."""
        if self._thread is not None:
            self._thread.close()
        for node in self._nodes:
            node.destroy_node()
