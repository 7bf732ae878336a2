# SPDX-License-Identifier: Apache-2.0

"""How long does a policy think? LeRobot's own inference against the accelerated one, interleaved in one run.

    python benchmarks/policy_latency.py --markdown docs/reference/policy_latency.md --json latency.json
    python benchmarks/policy_latency.py --quick                       # small random policies, seconds
    python benchmarks/policy_latency.py --device cuda --repeats 20    # on a GPU

Random weights of the published size (SmolVLA: 450 M parameters), two 512x512 images, chunk 50, 10 steps. Each repeat takes
one observation and the same noise through all variants in turn, so that other work on the machine hits them alike; every
answer is compared with that of the stock policy. The parts (vision tower, prefix, denoising) are timed in runs of their own;
`prefix` is what is left of the sum, the preparation of the images included. A fully compiled stock policy has no parts.

The JSON holds ``machine``, ``settings`` and ``rows`` with ``policy``, ``variant``, ``vision_ms``, ``prefix_ms``,
``denoise_ms``, ``median_ms``, ``min_ms``, ``max_ms``, ``cpu_ms`` (median CPU time of the process), ``ratio`` (median of stock
by that of the variant), ``operators`` (tensor operations of one inference that are no mere views: each is at least one launch on
a GPU that runs without graphs), ``max_difference`` (of the normalised actions from stock), ``warm_up_s`` (first run, compilation
included) and ``ok``. The exit code is 1 if a float32 variant differs by more than 1e-4.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from vla_policy.policies.accelerated import AcceleratedPolicy, accelerate
from vla_policy.testing.random_policies import make_noise, make_observation, make_policy

TOLERANCE = 1e-4
PART_RUNS = 2
STOCK = "stock"
VARIANTS = {
    STOCK: "LeRobot's policy as it is",
    "stock_autocast": "the same under torch.autocast to bfloat16",
    "stock_compiled": "the same with compile_model and its default compile_mode",
    "eager": "accelerated, float32",
    "compiled": "accelerated, float32, compiled",
    "bf16": "accelerated, bfloat16",
    "bf16_compiled": "accelerated, bfloat16, compiled",
    "graph": "accelerated, float32, CUDA graphs",
    "bf16_graph": "accelerated, bfloat16, CUDA graphs",
    "bf16_compiled_graph": "accelerated, bfloat16, compiled, CUDA graphs",
}
INTRODUCTION = """\
# Policy latency

Written by `python benchmarks/policy_latency.py --markdown docs/reference/policy_latency.md`; do not edit by hand. What the
variants do and where the time goes: [SmolVLA's speed](../explanation/smolvla_speed.md).

`difference` is the largest one of the normalised actions from those of the stock policy for the same observations and noise.
`CPU` is the CPU time of the process, which other work on the machine disturbs less than the wall time; `ratio` compares medians
of wall times with `stock` of the same run. `operators` counts the tensor operations of one inference that are no mere views: on
a GPU each is at least one launch, unless graphs replay them at once. `prefix` includes the preparation of the images.
"""
NO_GPU = "**No GPU was available for these measurements**: the rows with CUDA graphs are missing, and what a GPU gains is not known."


@dataclass
class Variant:
    """One way to run a policy.

    Attributes:
        name: Key of `VARIANTS`.
        predict: Observation and noise to actions.
        policy: The stock policy, or the accelerated one.
        seconds: Wall time of each repeat.
        cpu_seconds: CPU time of each repeat.
        difference: Largest difference from stock.
        warm_up_s: First run.
    """

    name: str
    predict: Callable[[dict[str, Tensor], Tensor], Tensor]
    policy: Any
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    difference: float = 0.0
    warm_up_s: float = 0.0


FREE = ("aten::_unsafe_view", "aten::lift_fresh")


class OperatorCount(TorchDispatchMode):
    """Counts the tensor operations inside it that compute something."""

    def __init__(self) -> None:
        """Start at 0."""
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count an operation and let it run."""
        self.number += not (func.is_view or func.namespace == "prim" or func.name() in FREE)
        return func(*args, **(kwargs or {}))


def synchronize(device: str) -> None:
    """Wait for the GPU, if there is one."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def make_variants(kind: str, arguments: argparse.Namespace, folder: Path) -> Iterator[Variant]:
    """Build the variants; float32 ones share one policy, bfloat16 ones another of the same weights."""
    made: dict[bool, Any] = {}

    def policy(bf16: bool) -> Any:
        if bf16 not in made:
            options = {"dtype": "float32"} if kind != "smolvla" else {}
            made[bf16] = make_policy(kind, folder, full=not arguments.quick, device=arguments.device, **options)
        return made[bf16]

    for name in arguments.variants:
        if name.startswith(STOCK):
            yield stock_variant(name, policy(False), arguments.device)
            continue
        fast = accelerate(
            policy("bf16" in name),
            dtype="bfloat16" if "bf16" in name else "",
            compile_model="compiled" in name,
            cuda_graph="graph" in name,
        )
        yield Variant(name, lambda seen, noise, fast=fast: fast.predict_action_chunk(seen, noise=noise), fast)


def stock_variant(name: str, policy: Any, device: str) -> Variant:
    """LeRobot's own inference: plain, under autocast, or with its `sample_actions` compiled as `compile_model` does."""
    plain = policy.model.sample_actions
    mode = policy.config.compile_mode
    sample = torch.compile(plain, mode=mode) if name == "stock_compiled" else plain
    bf16 = name == "stock_autocast"

    def predict(seen: dict[str, Tensor], noise: Tensor) -> Tensor:
        policy.model.sample_actions = sample
        try:
            with torch.autocast(device.split(":")[0], dtype=torch.bfloat16) if bf16 else nullcontext():
                actions: Tensor = policy.predict_action_chunk(dict(seen), noise=noise)
                return actions
        finally:
            policy.model.sample_actions = plain

    return Variant(name, predict, policy)


def measure(kind: str, arguments: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """Run all variants of one policy and return their rows."""
    variants = list(make_variants(kind, arguments, folder))
    stock = variants[0].policy
    for variant in variants:
        print(f"{kind}: first run of {variant.name} ...", file=sys.stderr, flush=True)
        started = time.perf_counter()
        variant.predict(make_observation(stock, 0), make_noise(stock, 0))
        synchronize(arguments.device)
        variant.warm_up_s = time.perf_counter() - started
    for number in range(arguments.repeats):
        seen, noise = make_observation(stock, number), make_noise(stock, number)
        expected = None
        for variant in variants:
            synchronize(arguments.device)
            wall, cpu = time.perf_counter(), time.process_time()
            actions = variant.predict(seen, noise)
            synchronize(arguments.device)
            variant.seconds.append(time.perf_counter() - wall)
            variant.cpu_seconds.append(time.process_time() - cpu)
            expected = actions.float() if expected is None else expected
            variant.difference = max(variant.difference, (actions.float() - expected).abs().max().item())
        print(f"{kind}: repeat {number + 1} of {arguments.repeats}", file=sys.stderr, flush=True)
    return [row(kind, variant, variants[0], parts(variant, stock, arguments)) for variant in variants]


def row(kind: str, variant: Variant, stock: Variant, measured: dict[str, float | None]) -> dict[str, Any]:
    """One line of the table."""
    median = statistics.median(variant.seconds)
    exact = "bf16" not in variant.name and variant.name != "stock_autocast"
    return {
        "policy": kind,
        "variant": variant.name,
        **measured,
        "median_ms": 1e3 * median,
        "min_ms": 1e3 * min(variant.seconds),
        "max_ms": 1e3 * max(variant.seconds),
        "cpu_ms": 1e3 * statistics.median(variant.cpu_seconds),
        "ratio": statistics.median(stock.seconds) / median,
        "max_difference": variant.difference,
        "warm_up_s": variant.warm_up_s,
        "ok": variant.difference <= TOLERANCE or not exact,
    }


def parts(variant: Variant, stock: Any, arguments: argparse.Namespace) -> dict[str, float | None]:
    """Times of the vision tower and the denoising and the rest [ms], and the number of operators, all of further runs."""
    if variant.name == "stock_compiled":
        return dict.fromkeys(("vision_ms", "prefix_ms", "denoise_ms", "operators"))
    count = None
    if not ("compiled" in variant.name or "graph" in variant.name):
        with OperatorCount() as counted:
            variant.predict(make_observation(stock, 0), make_noise(stock, 0))
        count = counted.number
    found: list[tuple[float, float, float]] = []
    for number in range(PART_RUNS):
        seen, noise = make_observation(stock, number), make_noise(stock, number)
        spent = {"vision": 0.0, "denoise": 0.0}
        with timed_parts(variant.policy, spent, arguments.device):
            started = time.perf_counter()
            variant.predict(seen, noise)
            synchronize(arguments.device)
            total = time.perf_counter() - started
        found.append((spent["vision"], total - spent["vision"] - spent["denoise"], spent["denoise"]))
    middle = (statistics.median(values) for values in zip(*found, strict=True))
    times = {name: 1e3 * value for name, value in zip(("vision_ms", "prefix_ms", "denoise_ms"), middle, strict=True)}
    return {**times, "operators": count}


@contextmanager
def timed_parts(policy: Any, spent: dict[str, float], device: str) -> Iterator[None]:
    """Add up the seconds that a policy spends in its vision tower and its denoising steps."""

    def timed(function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            synchronize(device)
            started = time.perf_counter()
            result = function(*given, **named)
            synchronize(device)
            spent[part] += time.perf_counter() - started
            return result

        return call

    if isinstance(policy, AcceleratedPolicy):
        before = dict(policy.stages)
        policy.stages.update({part: timed(before[part], part) for part in spent})
        yield
        policy.stages.update(before)
        return
    model = policy.model
    joint = model.vlm_with_expert if policy.name == "smolvla" else model.paligemma_with_expert
    vision, denoise = joint.embed_image, model.denoise_step
    joint.embed_image, model.denoise_step = timed(vision, "vision"), timed(denoise, "denoise")
    yield
    joint.embed_image, model.denoise_step = vision, denoise


def machine(arguments: argparse.Namespace) -> dict[str, Any]:
    """What it ran on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    cuda = arguments.device.startswith("cuda")
    return {
        "device": arguments.device,
        "cpu": names[0] if names else platform.machine(),
        "cpu_extensions": [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags],
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in ("torch", "lerobot", "transformers")},
        "python": platform.python_version(),
    }


def table(result: dict[str, Any]) -> str:
    """One run as Markdown."""
    about, settings = result["machine"], result["settings"]
    where = about["gpu"] or f"{about['cpu']} ({', '.join(about['cpu_extensions'])})"
    libraries = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    lines = [
        f"## {'GPU' if about['gpu'] else 'CPU'}: {where}",
        "",
        f"{about['threads']} compute thread(s) of {about['cores']} cores, load {about['load_average']:.1f} at the end, {libraries}, "
        f"Python {about['python']}. {settings['repeats']} observations, each through all variants in turn; "
        f"{'small random policies' if settings['quick'] else 'published sizes, random weights'}.",
        "",
        "| policy | variant | vision | prefix | denoising | median | min … max | CPU | ratio | operators | difference |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for one in result["rows"]:
        pieces = (one["vision_ms"], one["prefix_ms"], one["denoise_ms"])
        shown = [f"{value:.1f} ms" if value is not None else "-" for value in pieces]
        lines.append(
            f"| {one['policy']} | {VARIANTS[one['variant']]} | {' | '.join(shown)} | {one['median_ms']:.1f} ms | "
            f"{one['min_ms']:.1f} … {one['max_ms']:.1f} ms | {one['cpu_ms']:.1f} ms | {one['ratio']:.2f} | "
            f"{one['operators'] or '-'} | "
            f"{one['max_difference']:.1e} |"
        )
    return "\n".join(lines) + "\n"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--quick", action="store_true", help="small policies: proves that it runs, says nothing of speed"
    )
    result.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    result.add_argument(
        "--policies", nargs="+", choices=("smolvla", "pi0", "pi05"), default=["smolvla"], metavar="POLICY",
        help="of smolvla, pi0, pi05; the last two take 14 GB each at their full size (default smolvla)",
    )  # fmt: skip
    result.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=[], metavar="VARIANT",
        help=f"of {', '.join(VARIANTS)}; {STOCK} always runs (default: all that the device can)",
    )  # fmt: skip
    result.add_argument("--repeats", type=int, default=20, help="observations (default %(default)s)")
    result.add_argument("--threads", type=int, default=0, help="compute threads; 0: as torch decides (default 0)")
    result.add_argument("--json", type=Path, help="write the result to this file")
    result.add_argument("--markdown", type=Path, help="write the table to this file")
    result.add_argument(
        "--also",
        type=Path,
        action="append",
        default=[],
        help="with --markdown: JSON of another run to show too; repeat",
    )
    return result


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run everything and return the result."""
    cuda = arguments.device.startswith("cuda")
    possible = [name for name in VARIANTS if cuda or "graph" not in name]
    asked = arguments.variants or possible
    arguments.variants = [name for name in VARIANTS if name == STOCK or name in asked]
    if impossible := [name for name in arguments.variants if name not in possible]:
        raise SystemExit(f"{', '.join(impossible)}: needs a GPU; add --device cuda, or leave the variant out")
    if cuda and not torch.cuda.is_available():
        raise SystemExit(f"--device {arguments.device}: torch sees no CUDA device; use --device cpu")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="policy_latency_") as name:
        for kind in arguments.policies:
            rows += measure(kind, arguments, Path(name))
    settings = {"quick": arguments.quick, "repeats": arguments.repeats, "chunk": 10 if arguments.quick else 50}
    return {"machine": machine(arguments), "settings": settings, "rows": rows}


def main() -> int:
    """Run the benchmark."""
    arguments = parser().parse_args()
    result = run(arguments)
    shown = [result, *(json.loads(path.read_text(encoding="utf-8")) for path in arguments.also)]
    text = "\n".join(table(one) for one in shown)
    print(text)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    if arguments.markdown:
        without = [] if any(one["machine"]["gpu"] for one in shown) else [NO_GPU + "\n"]
        arguments.markdown.write_text("\n".join([INTRODUCTION, *without, text]), encoding="utf-8")
    return 0 if all(one["ok"] for one in result["rows"]) else 1


if __name__ == "__main__":
    sys.exit(main())
