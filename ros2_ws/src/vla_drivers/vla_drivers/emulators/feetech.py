# SPDX-License-Identifier: Apache-2.0

"""Feetech servos behind a pseudo terminal: a serial peer that LeRobot's real bus code talks to.

Registers are those of an STS3215 as LeRobot's table has them; with torque on, a servo runs to its goal at a fixed speed.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
import tty
from dataclasses import dataclass, field
from pathlib import Path

from vla_drivers.so101 import packets
from vla_drivers.so101.calibration import Calibration
from vla_drivers.so101.packets import Packet

MODEL_STS3215 = 777
# register addresses
_MODEL, _ID, _MIN, _MAX, _OFFSET, _TORQUE, _GOAL, _LOCK, _PRESENT, _VOLTAGE = 3, 5, 9, 11, 31, 40, 42, 55, 56, 62
_SIGN_OFFSET, _SIGN_POSITION = 11, 15
_STEPS_PER_S = 3000.0


@dataclass(slots=True)
class Servo:
    """One servo: 128 bytes of registers and a shaft.

    Attributes:
        position: Of the shaft as it reports it, after its homing offset [steps].
        silent: It does not answer.
        stuck: It does not move.
        error: Error bits of its answers.
    """

    number: int
    registers: bytearray = field(default_factory=lambda: bytearray(128))
    position: float = 2048.0
    silent: bool = False
    stuck: bool = False
    error: int = 0

    @property
    def torque(self) -> bool:
        """Whether it holds."""
        return bool(self.registers[_TORQUE])

    @property
    def goal(self) -> int:
        """Its target [steps]."""
        return int.from_bytes(self.registers[_GOAL : _GOAL + 2], "little")

    def word(self, address: int, value: int) -> None:
        """Set two bytes."""
        self.registers[address : address + 2] = value.to_bytes(2, "little")

    def advance(self, elapsed_s: float) -> None:
        """Move for a while, within the limits that are written into it."""
        if self.torque and not self.stuck:
            low, high = (int.from_bytes(self.registers[at : at + 2], "little") for at in (_MIN, _MAX))
            way = min(max(self.goal, low), high) - self.position
            reach = _STEPS_PER_S * elapsed_s
            self.position += min(max(way, -reach), reach)
        self.word(_PRESENT, _signed(round(self.position), _SIGN_POSITION))


def _signed(value: int, bit: int) -> int:
    return -value | 1 << bit if value < 0 else value


class FeetechEmulator:
    """The servos of one arm and the adapter that they hang on; a thread answers until `close`.

    Attributes:
        servos: By number; hold `lock` to change them.
        writes: Goal positions that were received, one mapping of number to steps per packet.
        path: Where a client opens the port.
    """

    def __init__(self, calibration: Calibration, link: Path | None = None) -> None:
        """Start to answer.

        Args:
            calibration: What is written into the servos.
            link: Symbolic link that stands for the port and survives `unplug` and `plug`; None: the terminal itself.
        """
        self.lock = threading.Lock()
        self.servos: dict[int, Servo] = {}
        self.writes: list[dict[int, int]] = []
        self.path = Path()
        self._link = link
        for joint in calibration.values():
            servo = Servo(joint.id, position=(joint.range_min + joint.range_max) / 2)
            servo.registers[0], servo.registers[1] = 3, 10  # firmware
            servo.registers[_ID], servo.registers[_VOLTAGE] = joint.id, 120
            servo.registers[_LOCK] = 1
            servo.word(_MODEL, MODEL_STS3215)
            servo.word(_MIN, joint.range_min)
            servo.word(_MAX, joint.range_max)
            servo.word(_OFFSET, _signed(joint.homing_offset, _SIGN_OFFSET))
            servo.advance(0.0)
            self.servos[joint.id] = servo
        self._time = time.monotonic()
        self._ends: tuple[int, int] | None = None
        self._thread: threading.Thread | None = None
        self.plug()

    def plug(self) -> None:
        """Plug the adapter in: a port appears."""
        master, slave = os.openpty()
        tty.setraw(slave)
        os.set_blocking(master, False)
        self._ends = (master, slave)
        name = Path(os.ttyname(slave))
        if self._link is not None:
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(name)
        self.path = self._link or name
        self._time = time.monotonic()
        self._thread = threading.Thread(target=self._serve, args=(master,), name="feetech emulator", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pull the adapter's cable: the port is gone, the servos keep their power."""
        ends, self._ends = self._ends, None
        if ends is None:
            return
        if self._link is not None:
            self._link.unlink(missing_ok=True)
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        for end in ends:
            os.close(end)

    def close(self) -> None:
        """Stop answering and remove the port."""
        self.unplug()

    def _serve(self, master: int) -> None:
        buffer = bytearray()
        while self._ends is not None:
            if not select.select([master], [], [], 0.05)[0]:
                continue
            with contextlib.suppress(BlockingIOError):
                buffer += os.read(master, 4096)
            while (packet := packets.take(buffer)) is not None:
                with self.lock:
                    answer = self._answer(packet)
                if answer:
                    os.write(master, answer)

    def _answer(self, packet: Packet) -> bytes:
        now = time.monotonic()
        for servo in self.servos.values():
            servo.advance(now - self._time)
        self._time = now
        if packet.code == packets.SYNC_READ:
            address, count, *ids = packet.parameters
            return b"".join(self._reply(i, self._bytes(i, address, count)) for i in ids)
        if packet.code == packets.SYNC_WRITE:
            self._sync_write(packet.parameters)
            return b""
        ids = list(self.servos) if packet.id == packets.BROADCAST else [packet.id]
        return b"".join(self._one(i, packet) for i in ids)

    def _one(self, number: int, packet: Packet) -> bytes:
        if number not in self.servos:
            return b""
        if packet.code == packets.READ:
            return self._reply(number, self._bytes(number, *packet.parameters))
        if packet.code == packets.WRITE:
            self._write(number, packet.parameters[0], packet.parameters[1:])
        return self._reply(number, b"")

    def _sync_write(self, parameters: bytes) -> None:
        address, count, rest = parameters[0], parameters[1], parameters[2:]
        for at in range(0, len(rest), count + 1):
            if rest[at] in self.servos:
                self._write(rest[at], address, rest[at + 1 : at + 1 + count])
        if address == _GOAL:
            steps = {rest[at]: int.from_bytes(rest[at + 1 : at + 3], "little") for at in range(0, len(rest), count + 1)}
            self.writes.append(steps)

    def _write(self, number: int, address: int, data: bytes) -> None:
        self.servos[number].registers[address : address + len(data)] = data

    def _bytes(self, number: int, address: int, count: int) -> bytes:
        servo = self.servos.get(number)
        return b"" if servo is None else bytes(servo.registers[address : address + count])

    def _reply(self, number: int, data: bytes) -> bytes:
        servo = self.servos.get(number)
        if servo is None or servo.silent:
            return b""
        return Packet(number, servo.error, data).encode()
