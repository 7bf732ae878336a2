# SPDX-License-Identifier: Apache-2.0

"""The demo's stages and what is kept of each. Every stage runs a command of the README."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError
from vla_core.statistics import percentile

from vla_demo import pictures
from vla_demo.pipeline import Pipeline
from vla_demo.report import success, versions
from vla_demo.settings import DEMONSTRATION_SEED, HELD_OUT_SEED, ROBOT, DemoSettings

_SAID = re.compile(r"\[(?:operator|trial)\]: (.+)$")

RECORDED_TRIALS = 3  # rollouts kept as bags, for the video and the plots


def _progress(line: str) -> str | None:
    """What the operator and the trials say of their progress, and every node's errors; the rest stays in the log."""
    if found := _SAID.search(line):
        return found.group(1)
    return line if "[ERROR]" in line or "[FATAL]" in line else None


def _any(line: str) -> str | None:
    return line or None


@dataclass(slots=True)
class Demo:
    """State of one run.

    Attributes:
        settings: what to do.
        output: report folder.
        pipeline: runs the commands, keeps their times.
        trials: stage name -> result file of its trials.
    """

    settings: DemoSettings
    output: Path
    pipeline: Pipeline
    trials: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def _scene(self) -> list[str]:
        return [
            f"robot:={ROBOT}",
            "sim:=true",
            f"scene:={self.settings.task}",
            f"bin:={self.settings.bin}",
            f"task:={self.settings.instruction}",
        ]

    def record(self) -> None:
        """Record scripted demonstrations through ROS topics."""
        command = ["ros2", "launch", "vla_bringup", "record.launch.py", *self._scene, "operator:=scripted"]
        command += [f"episodes:={self.settings.demonstrations}", f"seed:={DEMONSTRATION_SEED}"]
        command += [f"output_dir:={self.output / 'bags'}", f"result_file:={self.output / 'record.json'}"]
        self.pipeline.run("record", command, _progress)
        saved = sum(1 for episode in _read(self.output / "record.json", "record")["episodes"] if episode.get("bag"))
        if saved != self.settings.demonstrations:
            raise VlaError(
                f"record: {saved} of {self.settings.demonstrations} episodes were saved; {self.output / 'logs' / 'record.log'} says why"
            )

    def convert(self) -> None:
        """Turn the bags into a LeRobot dataset."""
        command = [
            "ros2",
            "run",
            "vla_recorder",
            "convert",
            "--bags",
            str(self.output / "bags"),
            "--output",
            str(self.output / "dataset"),
        ]
        self.pipeline.run("convert", command, _any)

    def train(self) -> None:
        """Train the policy with lerobot-train."""
        # SmolVLA's preset decays the learning rate over a number of steps of its own
        decay = [f"--policy.scheduler_decay_steps={self.settings.steps}"] if self.settings.policy == "smolvla" else []
        self.pipeline.run("train", self._train_command("train", self.settings.steps, *decay), _any)

    def _train_command(self, folder: str, steps: int, *extra: str) -> list[str]:
        command = [
            "ros2",
            "run",
            "vla_policy",
            "train",
            "--policy",
            self.settings.policy,
            "--dataset",
            str(self.output / "dataset"),
        ]
        command += [
            "--output",
            str(self.output / folder),
            "--steps",
            str(steps),
            "--threads",
            str(self.settings.threads),
        ]
        return [*command, *(["--", *extra] if extra else [])]

    def evaluate(self) -> None:
        """Run held-out seeds closed loop, in lockstep."""
        self._trials("evaluate", "train", self.settings.trials, "lockstep", record=RECORDED_TRIALS)

    def compare_with_untrained(self) -> None:
        """Run the same seeds with a checkpoint whose weights were never moved (one step of learning rate 0)."""
        still = "--optimizer.lr=0" if self.settings.policy == "act" else "--policy.optimizer_lr=0"
        self.pipeline.run("untrained", self._train_command("untrained", 1, still), _any)
        self._trials("untrained", "untrained", self.settings.trials, "lockstep")

    def measure_in_real_time(self) -> None:
        """Run a few seeds on the real-time clock: latency and jitter mean nothing in lockstep."""
        self._trials("real_time", "train", self.settings.real_time_trials, "paced")

    def _trials(self, name: str, checkpoint: str, trials: int, clock: str, record: int = 0) -> None:
        result = self.output / f"{name}.json"
        command = [
            "ros2",
            "launch",
            "vla_bringup",
            "infer.launch.py",
            f"checkpoint:={self.output / checkpoint}",
            *self._scene,
        ]
        command += [
            f"episodes:={trials}",
            f"seed:={HELD_OUT_SEED}",
            f"clock:={clock}",
            f"max_duration:={self.settings.trial_s}",
        ]
        command += [f"result_file:={result}", f"report_file:={self.output / f'{name}.jsonl'}"]
        if record:
            command += [f"record_episodes:={record}", f"output_dir:={self.output / 'rollouts'}"]
        self.pipeline.run(name, command, _progress)
        self.trials[name] = _read(result, name)
        done = len(self.trials[name]["trials"])
        if done != trials:
            raise VlaError(f"{name}: {done} of {trials} trials ended; {self.output / 'logs' / f'{name}.log'} says why")

    def report(self) -> dict[str, Any]:
        """Everything that was measured, as report.json holds it; draws the pictures."""
        runs = [json.loads(line) for line in (self.output / "real_time.jsonl").read_text(encoding="utf-8").splitlines()]
        converted = _read(self.output / "dataset" / "meta" / "vla" / "report.json", "convert")
        inference = [value for run in runs for value in run["inference_ms"]]
        ages = [value for run in runs for value in run["obs_to_action_ms"]]
        jitter = [value for run in runs for value in run["control_jitter_ms"]]
        pictures.draw(self.output, inference, ages)
        trials = self.trials["evaluate"]["trials"]
        paced = self.trials["real_time"]["trials"]
        report = {
            "task": self.settings.task,
            "policy": self.settings.policy,
            "clock": "lockstep; latency and jitter in real time",
            "stages": {name: round(seconds, 1) for name, seconds in self.pipeline.seconds.items()},
            "episodes": converted["episodes"],
            "frames": converted["frames"],
            "dropped": converted["dropped"],
            "success": success(sum(t["success"] for t in trials), len(trials)),
            "success_real_time": success(sum(t["success"] for t in paced), len(paced)),
            "control_jitter_ms_p99": percentile(jitter, 99),
            "obs_to_action_ms_p95": percentile(ages, 95),
            "inference_ms_p50": percentile(inference, 50),
            "inference_ms_p95": percentile(inference, 95),
            "seeds": {
                "demonstrations": [DEMONSTRATION_SEED, self.settings.demonstrations],
                "trials": [t["seed"] for t in trials],
            },
            "trials": trials,
            "versions": versions(),
        }
        if self.settings.quick:
            report["untrained"] = self._untrained(trials)
        return report

    def _untrained(self, trials: list[dict[str, Any]]) -> dict[str, Any]:
        """Mean final distance of the tool from the block, with and without training, over the same seeds."""
        untrained = {t["seed"]: t["final_distance"] for t in self.trials["untrained"]["trials"]}
        pairs = [(t["final_distance"], untrained[t["seed"]]) for t in trials if t["seed"] in untrained]
        trained, without = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        return {"n": len(pairs), "distance_trained": trained, "distance_untrained": without}


def _read(path: Path, stage: str) -> dict[str, Any]:
    """A result file of a stage.

    Raises:
        VlaError: the stage ended without writing it.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VlaError(
            f"{stage}: ended without its result file {path}; its log in the folder logs beside it says why"
        ) from error
    return content
