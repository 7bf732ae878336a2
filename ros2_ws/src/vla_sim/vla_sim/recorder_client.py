# SPDX-License-Identifier: Apache-2.0

"""Starting and stopping the recorder through its services; from a worker thread."""

from rclpy.node import Node
from vla_common.services import call_checked
from vla_msgs.action import RecordEpisode
from vla_msgs.srv import AnnotateEpisode, LabelEpisode, StartEpisode, StopEpisode

_START_S = 60.0  # wall time; the recorder may still be starting itself
_STOP_S = 60.0  # wall time; a long episode takes a while to be closed


class RecorderClient:
    """Records one episode at a time."""

    def __init__(self, node: Node) -> None:
        self._start = node.create_client(StartEpisode, "recorder/start")
        self._stop = node.create_client(StopEpisode, "recorder/stop")
        self._label = node.create_client(LabelEpisode, "recorder/label")
        self._annotate = node.create_client(AnnotateEpisode, "recorder/annotate")

    def start(self, instruction: str, seed: int) -> None:
        """Open an episode.

        Raises:
            CallError: there is no recorder, or it refuses.
        """
        call_checked(self._start, StartEpisode.Request(task=instruction, seed=seed), timeout_s=_START_S)

    def stop(self, success: bool) -> str:
        """Keep the open episode with its outcome; returns the folder of its bag.

        Raises:
            CallError: there is no recorder, or it refuses.
        """
        result = RecordEpisode.Result
        outcome = result.OUTCOME_SUCCESS if success else result.OUTCOME_FAILURE
        return str(call_checked(self._stop, StopEpisode.Request(outcome=outcome), timeout_s=_STOP_S).bag_path)

    def label(self, success: bool, seed: int) -> None:
        """Say of the last episode, which another node has recorded, whether it succeeded and from which seed.

        Raises:
            CallError: there is no recorder, or it refuses.
        """
        label = LabelEpisode.Request.SUCCESS if success else LabelEpisode.Request.FAILURE
        call_checked(self._label, LabelEpisode.Request(label=label), timeout_s=_STOP_S)
        call_checked(self._annotate, AnnotateEpisode.Request(keys=["seed"], values=[str(seed)]), timeout_s=_STOP_S)
