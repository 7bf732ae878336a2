# SPDX-License-Identifier: Apache-2.0

"""A person at two joystick sticks, played: publishes `left/joy` and `right/joy` to drive complete episodes.

It looks at the scene (the truth on `sim/task_state`), at the phase of the episode and at the state of teleoperation, and
acts through sticks and buttons only: record, approach, skill button, and whatever its scenario asks for. What it did and
when goes into the result file.

In the scenario takeover it also starts the policy's runs.

ros2 run vla_sim joy_player --ros-args -p task:=extract_cpu -p scenario:=failed_grasp -p lockstep:=true
"""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from vla_common.params import declare
from vla_common.run import EXIT_FAILURE, EXIT_OK, ManagedNode, run_node
from vla_common.ticks import make_ticker
from vla_msgs.action import RunPolicy
from vla_msgs.msg import EpisodeEvent

from vla_sim.errors import SceneError, SimError
from vla_sim.joy_episode import JoyEpisode
from vla_sim.joy_hands import Hands
from vla_sim.joy_person import Diary, JoyPerson
from vla_sim.joy_player_params import TAKEOVER, JoyPlayerParams
from vla_sim.joy_takeover import PolicyView, TakeoverEpisode
from vla_sim.tasks import EXTRACTION_TASKS, instruction

RATE_HZ = 50.0


class JoyPlayerNode(ManagedNode):
    """Plays `episodes` episodes, writes the result file and ends."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("joy_player", **kwargs)
        self.params = declare(self, JoyPlayerParams)
        if self.params.scenario != TAKEOVER and self.params.task not in EXTRACTION_TASKS:
            raise SceneError(
                f"scenario '{self.params.scenario}' needs something to take out: task one of {', '.join(EXTRACTION_TASKS)}; "
                f"'{self.params.task}' is for the scenario {TAKEOVER}"
            )
        self._ticker = make_ticker(self, lockstep=self.params.lockstep, rate_hz=RATE_HZ)
        self._hands = Hands(self, self._ticker, self.params.timeout_s)
        self._policy = PolicyView(self) if self.params.scenario == TAKEOVER else None
        self._diaries: list[Diary] = []
        self.start_thread(self._work, "joy_player")

    def close(self) -> None:
        """Leave the lockstep."""
        self._ticker.close()

    def _work(self) -> None:
        params = self.params
        with self._ticker.attached():
            self._hands.wait_for_device()
            for index in range(params.episodes):
                diary = self._episode(params.first_seed + index)
                self._diaries.append(diary)
                self._write()
                self.get_logger().info(
                    f"episode {index + 1}/{params.episodes} seed {diary.seed} {diary.scenario}: "
                    f"{'success' if diary.success else 'no success'}, {diary.duration_s:.1f} s"
                    + (f"; {diary.error}" if diary.error else "")
                )
        played = sum(not diary.error for diary in self._diaries)
        self.get_logger().info(f"{played} of {params.episodes} episodes were played to their end")
        self.stop.set(EXIT_OK if played == params.episodes else EXIT_FAILURE, "all episodes are played")

    def _episode(self, seed: int) -> Diary:
        wall = time.monotonic()
        diary = Diary(task=self.params.task, scenario=self.params.scenario, seed=seed)
        episode = self._person(diary)
        try:
            episode.play()
        except SimError as error:
            diary.error = str(error)
            self.get_logger().error(f"episode of seed {seed}: {error}")
            self._give_up(episode)
        diary.wall_s = time.monotonic() - wall
        return diary

    def _person(self, diary: Diary) -> JoyPerson:
        params, rng = self.params, np.random.default_rng(diary.seed)
        if self._policy is None:
            return JoyEpisode(self._hands, diary, rng, unplug_s=params.unplug_s)
        goal = RunPolicy.Goal(
            task=params.instruction or instruction(params.task, diary.seed),
            max_duration=params.max_duration_s,
            scene=params.task,
            client="joy_player",
        )
        return TakeoverEpisode(self._hands, diary, rng, policy=self._policy, goal=goal)

    def _give_up(self, episode: JoyPerson) -> None:
        """The next episode begins with a reset anyway."""
        try:
            episode.give_up()
        except SimError as error:
            self.get_logger().error(f"giving up does not end the episode either: {error}")

    def _write(self) -> None:
        if not self.params.result_file:
            return
        report = {
            "task": self.params.task,
            "scenario": self.params.scenario,
            "n": len(self._diaries),
            "ok": sum(diary.success for diary in self._diaries),
            "phases": {
                name: getattr(EpisodeEvent, name)
                for name in ("IDLE", "ARMED", "TELEOP", "SKILL", "CORRECTION", "POLICY")
            },
            "episodes": [asdict(diary) for diary in self._diaries],
        }
        path = Path(self.params.result_file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def main(args: list[str] | None = None) -> int:
    """Play the episodes and end with exit code 0, or 1 if one could not be played to its end."""
    return run_node(JoyPlayerNode, args)


if __name__ == "__main__":
    sys.exit(main())
