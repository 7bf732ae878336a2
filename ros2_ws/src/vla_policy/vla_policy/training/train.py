# SPDX-License-Identifier: Apache-2.0

"""Train a policy on datasets: `ros2 run vla_policy train --policy act --dataset DIR --run NAME`.

The training itself is LeRobot's own `lerobot-train`. This launcher checks the data, fills in what an offline run needs, shows
the command, and writes down what was trained on what. Each checkpoint is complete: its folder alone runs the policy.
"""

import argparse
import math
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from vla_core.errors import VlaError

from vla_policy.policies.checkpoint import run_checkpoints
from vla_policy.training.run_record import (
    FINISHED,
    RUNNING,
    process_age_s,
    read_loss,
    write_record,
)
from vla_policy.training.train_children import TRAINER, Validation, merge, trainer_command
from vla_policy.training.train_job import Work, new_work
from vla_policy.training.train_options import RUNS, build_parser
from vla_policy.training.train_plan import PLAN_VARIABLE
from vla_policy.training.train_resume import resumed_work
from vla_policy.training.train_run import Trainer, say
from vla_policy.training.train_settings import TrainError, environment, shown


def train(arguments: argparse.Namespace, extra: Sequence[str]) -> int:
    """Check, train, report. Returns the exit code.

    Raises:
        VlaError: anything the user can put right; nothing half-written is left.
    """
    output = arguments.output or RUNS / arguments.run
    work = resumed_work(arguments, extra, output) if arguments.resume else new_work(arguments, extra, output)
    say(shown([*TRAINER, *work.plan.arguments], threads=arguments.threads))
    if arguments.dry_run:
        return 0
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vla-train-")))
        plan_file = folder / "plan.json"
        variables = {**environment(os.environ, threads=arguments.threads), PLAN_VARIABLE: str(plan_file)}
        several = arguments.processes > 1
        trainer = None
        if not several:
            trainer = stack.enter_context(Trainer(trainer_command(1), environment=variables, wait=True))
        validations = [stack.enter_context(Validation(d)) for d in work.datasets if work.validate]
        if work.merged is not None:
            merge(work.merged, work.datasets, variables)
        _check(validations, trainer)
        work.plan.save(plan_file)
        output.parent.mkdir(parents=True, exist_ok=True)
        if trainer is None:
            trainer = stack.enter_context(
                Trainer(trainer_command(arguments.processes), environment=variables, wait=False)
            )
        return _follow(trainer, work)


def _check(validations: Sequence[Validation], trainer: Trainer | None) -> None:
    """Wait for the validations; a user's signal, which ends them too, is reported as what it is."""
    try:
        for validation in validations:
            validation.check()
    except TrainError:
        if trainer is not None:
            trainer.check_signal()
        raise


def _follow(trainer: Trainer, work: Work) -> int:
    """Let the training run and keep its record; a run that made no step leaves nothing behind."""
    record = dict(work.record)
    began_s, age_s = time.monotonic(), process_age_s()

    def told(event: Mapping[str, Any]) -> None:
        if event["event"] == "note":
            say(str(event["text"]))
        elif event["event"] == "step" and "first_step_s" not in record:
            record["first_step_s"] = round(age_s + time.monotonic() - began_s, 2)
            record["first_step_cpu_s"] = event.get("cpu_s")
            say(f"first step after {record['first_step_s']:.1f} s")
            record["parameters"], record["trainable_parameters"] = event.get("parameters"), event.get("trainable")
            _write(work.output, record)

    record["outcome"] = RUNNING
    outcome = "stopped: the launcher failed"
    try:
        progress = trainer.run(steps=work.steps, output=work.output, told=told)
        outcome = FINISHED if progress.reason is None else f"stopped: {progress.reason}"
    except TrainError as error:
        outcome = f"stopped: {str(error).splitlines()[0]}"
        raise
    finally:
        record["outcome"] = outcome
        _finish(work, record, age_s + time.monotonic() - began_s, trainer.rate)
    if progress.reason is not None:
        raise TrainError(progress.reason)
    made = run_checkpoints(work.output)
    if not made:
        raise TrainError(f"{work.output}: training ended without a checkpoint.")
    say(f"checkpoint: {made[-1]}  ({progress.step} steps in {record['seconds']:.0f} s, loss {record['loss']})")
    return 0


def _finish(work: Work, record: dict[str, Any], seconds: float, rate: float) -> None:
    """Complete `run.json` and draw the loss; remove the folder of a run that came to nothing."""
    rows = read_loss(work.output)
    if not rows.step:
        if not work.resumed:
            shutil.rmtree(work.output, ignore_errors=True)
            if work.made_vlm:
                shutil.rmtree(work.plan.vlm, ignore_errors=True)
        return
    record |= {
        "seconds": round(work.earlier_s + seconds, 2),
        "steps_per_s": rows.steps_per_s,
        "wall_steps_per_s": round(rate, 3),
        "data_time_share": rows.data_time_share,
        "loss": rows.loss[-1] if math.isfinite(rows.loss[-1]) else None,
        "last_step": rows.step[-1],
    }
    _write(work.output, record)
    from vla_policy.training.loss_plot import draw_loss  # noqa: PLC0415  (matplotlib, when there is something to draw)

    try:
        draw_loss(work.output, rows, f"{record['policy']}, {work.output.name}")
    except OSError as error:
        say(f"warning: {work.output}: loss.png could not be written ({error.strerror}).", sys.stderr)


def _write(output: Path, record: Mapping[str, Any]) -> None:
    try:
        write_record(output, record)
    except OSError as error:
        say(f"warning: {output}: run.json could not be written ({error.strerror}); the training goes on.", sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; exit code 0, or 2 with a message."""
    given = list(sys.argv[1:] if argv is None else argv)
    split = given.index("--") if "--" in given else len(given)
    arguments = build_parser().parse_args(given[:split])
    try:
        return train(arguments, given[split + 1 :])
    except VlaError as error:
        say(f"error: {error}", sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
