# SPDX-License-Identifier: Apache-2.0

"""A person takes the arm over from the policy, by service or joystick, and hands it back.

While a person has it, the policy commands nothing; the person drives by whatever publishes to the robot's controllers.
"""

import threading

from rclpy.node import Node
from sensor_msgs.msg import Joy
from std_msgs.msg import Bool
from std_srvs.srv import SetBool
from vla_common.qos import EVENT, LATCHED

HELD = "a person drives (takeover)"


class Takeover:
    """Who has the arm. Requests come from the executor's thread, `held` is asked by the control thread.

    Attributes:
        count: Times that a person took over in the present run.
    """

    def __init__(self, node: Node, *, topic: str, takeover_button: int, handback_button: int) -> None:
        """Offer `~/takeover` and listen to the joystick.

        Args:
            node: Of the policy.
            topic: Joystick (sensor_msgs/Joy); empty: none.
            takeover_button: Index of the button that takes over.
            handback_button: Index of the button that hands back; the same index: it does both in turn.
        """
        self._log = node.get_logger()
        self._buttons = (takeover_button, handback_button)
        self._pressed: tuple[bool, bool] = (True, True)  # a button that is down at first was not pressed now
        self._lock = threading.Lock()
        self._active = self._wanted = False
        self.count = 0
        self._signal = node.create_publisher(Bool, "~/intervention", LATCHED)
        self._signal.publish(Bool(data=False))
        node.create_service(SetBool, "~/takeover", self._on_service)
        if topic:
            node.create_subscription(Joy, topic, self._on_joy, EVENT)

    def begin(self) -> None:
        """A run begins, and the policy drives."""
        with self._lock:
            self._active, self._wanted, self.count = True, False, 0

    def end(self) -> None:
        """The run is over; there is nothing left to take over."""
        with self._lock:
            was, self._active, self._wanted = self._wanted, False, False
        if was:
            self._signal.publish(Bool(data=False))

    def held(self) -> bool:
        """Whether a person has the arm."""
        return self._wanted

    def request(self, wanted: bool, by: str) -> tuple[bool, str]:
        """Take over or hand back; from any thread.

        Args:
            wanted: Whether the person is to have the arm.
            by: What asks, for the log.

        Returns:
            Whether it is so now, and a text for people.
        """
        with self._lock:
            if not self._active:
                return not wanted, "no policy is running, so nothing was taken over: the arm is free"
            changed, self._wanted = self._wanted != wanted, wanted
            self.count += changed and wanted
        if not changed:
            return True, "a person has the arm already" if wanted else "the policy has the arm already"
        text = (
            "the arm is brought to rest; drive it, then hand it back"
            if wanted
            else "the policy goes on from where the arm is"
        )
        self._log.warning(f"{'takeover' if wanted else 'hand-back'} by {by}: {text}")
        self._signal.publish(Bool(data=wanted))
        return True, text

    def _on_service(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = self.request(request.data, "service")
        return response

    def _on_joy(self, msg: Joy) -> None:
        """Act on the moment at which a button goes down."""
        down = tuple(index < len(msg.buttons) and bool(msg.buttons[index]) for index in self._buttons)
        taken, handed = (now and not before for now, before in zip(down, self._pressed, strict=True))
        self._pressed = (down[0], down[1])
        if taken and handed and self._buttons[0] == self._buttons[1]:
            taken, handed = not self._wanted, self._wanted
        if taken:
            self.request(True, "joystick")
        elif handed:
            self.request(False, "joystick")
