# SPDX-License-Identifier: Apache-2.0

"""The recorder's services: every one answers with ``success`` and a message that says why not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from vla_core.errors import EpisodeError, VlaError
from vla_msgs.action import RecordEpisode
from vla_msgs.srv import (
    AnnotateEpisode,
    DiscardEpisode,
    LabelEpisode,
    SetPhase,
    SetTask,
    StartEpisode,
    StopEpisode,
)

from vla_recorder.capture.about import RecordError, Request
from vla_recorder.capture.controller import Controller
from vla_recorder.capture.labels import LABELS

Result = RecordEpisode.Result


class EpisodeServices:
    """Starts, stops, labels and annotates episodes on behalf of people and other nodes."""

    def __init__(
        self,
        node: Node,
        controller: Controller,
        open_episode: Callable[[Request], str],
        changed: Callable[[], None],
    ) -> None:
        """Offer the services.

        Args:
            node: Of the recorder.
            controller: The episodes.
            open_episode: Opens an episode and returns its uuid.
            changed: Told of everything that the status shows.
        """
        self._node = node
        self._controller = controller
        self._open_episode = open_episode
        self._changed = changed
        self.task = ""
        self.operator = ""
        node.create_service(StartEpisode, "~/start", self._start)
        node.create_service(StopEpisode, "~/stop", self._stop)
        node.create_service(DiscardEpisode, "~/discard", self._discard)
        node.create_service(SetTask, "~/set_task", self._set_task)
        node.create_service(SetPhase, "~/set_phase", self._set_phase)
        node.create_service(LabelEpisode, "~/label", self._label)
        node.create_service(AnnotateEpisode, "~/annotate", self._annotate)

    def _start(self, request: Any, response: Any) -> Any:
        try:
            response.episode_uuid = self._open_episode(
                Request(
                    task=request.task,
                    seed=request.seed,
                    operator=request.operator_name,
                    notes=request.notes,
                    max_duration_s=request.max_duration,
                )
            )
        except RecordError as error:
            self._node.get_logger().error(f"no episode was started: {error}")
            response.success, response.message = False, str(error)
            return response
        response.success = True
        response.bag_path = self._controller.snapshot().get("folder", "")
        return response

    def _stop(self, request: Any, response: Any) -> Any:
        try:
            closed = self._controller.close(
                request.outcome,
                Result.TERMINATION_STOPPED,
                skill_outcome=request.skill_outcome,
                notes=request.notes,
            )
        except (RecordError, EpisodeError) as error:
            response.success, response.message = False, str(error)
            return response
        response.success = not closed.error_msg
        response.message = closed.error_msg or "; ".join(closed.warnings)
        response.bag_path = "" if closed.path is None else str(closed.path)
        return response

    def _discard(self, _: Any, response: Any) -> Any:
        try:
            closed = self._controller.discard()
        except RecordError as error:
            response.success, response.message = False, str(error)
            return response
        response.success, response.message = not closed.error_msg, closed.error_msg
        return response

    def _set_task(self, request: Any, response: Any) -> Any:
        if not request.task.strip():
            response.success = False
            response.message = "the task is empty; give the instruction of the next episode"
            return response
        self.task = request.task
        self._changed()
        response.success = True
        response.message = "used by the next episode" if self._controller.recording else ""
        return response

    def _set_phase(self, request: Any, response: Any) -> Any:
        try:
            self._controller.set_phase(request.phase, request.label, request.skill)
        except VlaError as error:
            self._node.get_logger().warning(f"phase not changed: {error}")
            response.success, response.message = False, str(error)
        else:
            response.success = True
            self._changed()
        response.phase = self._controller.snapshot().get("phase", 0)
        return response

    def _label(self, request: Any, response: Any) -> Any:
        shelf = self._controller.shelf
        try:
            if request.label == LabelEpisode.Request.UNDO:
                saved = shelf.undo(request.episode_uuid)
            elif request.label < len(LABELS):
                saved = shelf.label(request.episode_uuid, LABELS[request.label])
            else:
                raise EpisodeError(f"label {request.label} is not one of 0 to {len(LABELS)} (see LabelEpisode.srv)")
        except VlaError as error:
            response.success, response.message = False, str(error)
            return response
        self._node.get_logger().info(f"episode {saved.uuid}: {saved.label} ({saved.path})")
        self._changed()
        response.success, response.message = True, f"{saved.path.name}: {saved.label}"
        response.episode_uuid, response.bag_path, response.outcome = saved.uuid, str(saved.path), saved.label
        return response

    def _annotate(self, request: Any, response: Any) -> Any:
        if len(request.keys) != len(request.values):
            response.success = False
            response.message = f"{len(request.keys)} keys but {len(request.values)} values; give one value per key"
            return response
        self.operator = request.operator_name or self.operator
        try:
            if request.notes or request.keys:
                pairs = dict(zip(request.keys, request.values, strict=True))
                self._controller.annotate(request.notes, pairs)
        except VlaError as error:
            response.success, response.message = False, str(error)
            return response
        self._changed()
        response.success = True
        return response
