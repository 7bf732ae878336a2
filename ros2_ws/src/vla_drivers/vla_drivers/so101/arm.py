# SPDX-License-Identifier: Apache-2.0

"""The six servos of an SO-101 on their serial bus, through LeRobot's FeetechMotorsBus."""

from __future__ import annotations

import termios
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import serial
from lerobot.motors import Motor, MotorCalibration, MotorNormMode
from lerobot.motors.feetech import FeetechMotorsBus, OperatingMode

from vla_drivers.errors import DriverError, LinkError
from vla_drivers.so101.calibration import JOINTS, Calibration, command
from vla_drivers.so101.units import Units, Vector

_RETRIES = 2
_PING_RETRIES = 5
_MODEL = "sts3215"
# LeRobot's settings of an SO-101 follower (lerobot.robots.so_follower): soft gains, and half torque for the gripper.
_BODY = {"P_Coefficient": 16, "I_Coefficient": 0, "D_Coefficient": 32}
_GRIPPER = {"Max_Torque_Limit": 500, "Protection_Current": 250, "Overload_Torque": 25}
_COMMON = {"Return_Delay_Time": 0, "Maximum_Acceleration": 254, "Acceleration": 254}
_FEEDBACK_MODE_BIT = 0x10  # of Phase: positions beyond one turn, which calibrations do not know


class So101Arm:
    """One arm. Not thread-safe: one thread owns the bus."""

    def __init__(
        self, port: str, role: str, calibration: Calibration, units: Units, name: str = "", patience_s: float = 0.0
    ) -> None:
        """Open nothing yet.

        Args:
            port: Serial port.
            role: follower or leader.
            calibration: Of this very arm.
            units: Of the gripper.
            name: Its id, for messages.
            patience_s: Waited for an answer on top of LeRobot's 50 ms; for emulated servos on a busy machine [s].
        """
        self.port = port
        self._role, self._name, self._calibration, self._units = role, name, calibration, units
        self._patience_ms = 1e3 * patience_s
        self._bus: FeetechMotorsBus | None = None

    def connect(self) -> None:
        """Open the port, ask every servo for its model, compare their calibration with the file, and set them up.

        A follower's torque stays as it is: an arm that holds goes on holding. A leader's torque is turned off.

        Raises:
            LinkError: the port or a servo does not answer.
            DriverError: the servos are calibrated otherwise than the file says.
        """
        bus = FeetechMotorsBus(
            port=self.port,
            motors={
                joint: Motor(
                    number.id, _MODEL, MotorNormMode.RANGE_0_100 if joint == "gripper" else MotorNormMode.DEGREES
                )
                for joint, number in self._calibration.items()
            },
            calibration={joint: MotorCalibration(**asdict(number)) for joint, number in self._calibration.items()},
        )
        if self._patience_ms:
            _wait_longer(bus, self._patience_ms)
        self._bus = bus
        try:
            with self._translated("opening the bus"):
                bus.connect(handshake=False)
                bus.port_handler.ser.exclusive = True
                self._require_servos(bus)
            self._require_calibration(bus)
            with self._translated("setting up the servos"):
                self._set_up(bus)
        except DriverError:
            self.drop()
            raise

    def read(self) -> Vector:
        """Return the measured joint angles ``(6,)`` [rad].

        Raises:
            LinkError: a servo did not answer.
        """
        with self._translated("reading positions"):
            return self._units.to_radians(self._open().sync_read("Present_Position", num_retry=_RETRIES))

    def write(self, angles: Vector) -> None:
        """Send target angles ``(6,)`` [rad] to all servos in one packet, which they do not acknowledge.

        Raises:
            LinkError: the port is gone.
        """
        with self._translated("writing targets"):
            self._open().sync_write("Goal_Position", self._units.from_radians(angles))

    def torque_on(self, angles: Vector) -> None:
        """Turn torque on with the targets ``(6,)`` [rad], which must be where the arm is.

        Raises:
            LinkError: a servo did not acknowledge.
        """
        with self._translated("turning torque on"):
            bus = self._open()
            for joint, value in self._units.from_radians(angles).items():
                bus.write("Goal_Position", joint, value, num_retry=_RETRIES)
            bus.enable_torque(num_retry=_RETRIES)

    def close(self, *, torque_off: bool) -> None:
        """Close the port; with `torque_off` the servos let go first.

        Raises:
            LinkError: a servo did not acknowledge that it lets go; the port is closed all the same.
        """
        bus, self._bus = self._bus, None
        if bus is None:
            return
        try:
            if torque_off:
                with self._translated("turning torque off"):
                    bus.disable_torque(num_retry=_RETRIES)
        finally:
            self._abandon(bus)

    def drop(self) -> None:
        """Close a port that is broken, without talking to the servos."""
        bus, self._bus = self._bus, None
        if bus is not None:
            self._abandon(bus)

    def _open(self) -> FeetechMotorsBus:
        if self._bus is None:
            raise LinkError(f"port {self.port}: not connected")
        return self._bus

    @staticmethod
    def _abandon(bus: FeetechMotorsBus) -> None:
        if bus.port_handler.is_open:
            bus.port_handler.closePort()

    def _require_servos(self, bus: FeetechMotorsBus) -> None:
        """LeRobot's own handshake asks each servo once, so that one lost packet would count as an absent servo."""
        model = bus.model_number_table[_MODEL]
        found = {joint: bus.ping(joint, num_retry=_PING_RETRIES) for joint in JOINTS}
        missing = [f"{joint} (id {self._calibration[joint].id})" for joint in JOINTS if found[joint] is None]
        if missing:
            raise LinkError(
                f"port {self.port}: no answer from {', '.join(missing)}. Is the arm's power supply on, are the cables between the "
                "servos plugged in, and is an SO-101 on this port (ros2 run vla_drivers find_port --scan)?"
            )
        others = [f"{joint} is of model {number}" for joint, number in found.items() if number != model]
        if others:
            raise DriverError(
                f"port {self.port}: {', '.join(others)}, expected {model} ({_MODEL}). This is no SO-101; choose another port"
            )

    def _require_calibration(self, bus: FeetechMotorsBus) -> None:
        with self._translated("reading the calibration"):
            found = bus.read_calibration()
        wrong = [
            joint
            for joint in JOINTS
            if (found[joint].homing_offset, found[joint].range_min, found[joint].range_max)
            != (
                self._calibration[joint].homing_offset,
                self._calibration[joint].range_min,
                self._calibration[joint].range_max,
            )
        ]
        if wrong:
            raise DriverError(
                f"the arm on {self.port} is calibrated otherwise than the file says ({', '.join(wrong)}), so its angles would be "
                f"wrong. Is this the other arm (ros2 run vla_drivers find_port --scan)? If it is the right one, let LeRobot write "
                f"the file to it, or calibrate anew: {command(self._role, self.port, self._name)}"
            )

    def _set_up(self, bus: FeetechMotorsBus) -> None:
        if self._role == "leader":
            bus.disable_torque(num_retry=_RETRIES)
        for joint in JOINTS:
            wanted = dict(_COMMON)
            phase = bus.read("Phase", joint, normalize=False, num_retry=_RETRIES)
            wanted["Phase"] = int(phase) & ~_FEEDBACK_MODE_BIT
            wanted["Operating_Mode"] = OperatingMode.POSITION.value
            if self._role == "follower":
                wanted |= _BODY | (_GRIPPER if joint == "gripper" else {})
            self._write_changed(bus, joint, wanted)

    def _write_changed(self, bus: FeetechMotorsBus, joint: str, wanted: dict[str, int]) -> None:
        """Write what differs; the servo's memory is unlocked for it, and its torque left alone."""
        changed = {
            register: value
            for register, value in wanted.items()
            if bus.read(register, joint, normalize=False, num_retry=_RETRIES) != value
        }
        if not changed:
            return
        locked = bus.read("Lock", joint, normalize=False, num_retry=_RETRIES)
        bus.write("Lock", joint, 0, normalize=False, num_retry=_RETRIES)
        for register, value in changed.items():
            bus.write(register, joint, value, normalize=False, num_retry=_RETRIES)
        bus.write("Lock", joint, locked, normalize=False, num_retry=_RETRIES)

    @contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        """Turn the bus's errors into one that names the port and the remedy.

        LeRobot raises ConnectionError and RuntimeError, pyserial SerialException, a port that vanishes termios.error, and
        the servo library IndexError for an answer that is too short. An answer that comes after its time is thrown away
        before the next question, or it would be taken for the answer to that.
        """
        try:
            if self._bus is not None and self._bus.port_handler.is_open:
                self._bus.port_handler.ser.reset_input_buffer()
            yield
        except (OSError, serial.SerialException, termios.error, RuntimeError, IndexError) as error:
            text = " ".join(str(error.__cause__ or error).split())
            raise LinkError(f"{what} on port {self.port} failed: {text}. {_remedy(text)}") from error


def _wait_longer(bus: FeetechMotorsBus, more_ms: float) -> None:
    handler = bus.port_handler
    original = handler.setPacketTimeout

    def set_timeout(packet_length: int) -> None:
        original(packet_length)
        handler.packet_timeout += more_ms

    handler.setPacketTimeout = set_timeout


def _remedy(text: str) -> str:
    lower = text.lower()
    if "overload" in lower or "overheat" in lower or "overele" in lower or "voltage" in lower:
        return "A servo protects itself: take away the load, let it cool, and switch the arm's power off and on"
    if "permission" in lower:
        return "Allow it: sudo usermod -aG dialout $USER, then log in again"
    if "lock" in lower or "busy" in lower:
        return "Another program uses this port (another driver, a LeRobot command); end it: lsof shows which"
    if "no such file" in lower or "could not open" in lower:
        return "Is the USB cable plugged in? Find the port with: ros2 run vla_drivers find_port"
    return "Check the USB cable, the power supply and the cables between the servos"
