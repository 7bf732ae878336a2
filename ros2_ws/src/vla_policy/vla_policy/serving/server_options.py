# SPDX-License-Identifier: Apache-2.0

"""Command line of the policy server."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from vla_policy.policies.registry import parse_pairs
from vla_policy.serving.images import FITS, PAD

EXAMPLE = """example:
  ros2 run vla_policy serve --checkpoints_dir outputs/train --port 8000
  python -m vla_policy.serving.server --checkpoints_dir outputs/train --device cuda --host 0.0.0.0 --token-file token.txt
then, on the robot:
  ros2 launch vla_bringup infer.launch.py policy:=remote host:=HOST port:=8000 protocol:=positronic"""
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """See `parser` for the meaning of each."""

    checkpoints_dir: Path
    checkpoint: str
    policy: str
    policy_options: dict[str, str]
    profile: Path | None
    host: str
    port: int
    token: str
    device: str
    dtype: str
    compile: bool
    accelerate: bool
    torch_threads: int
    seed: int
    n_action_steps: int
    guided: bool
    image_fit: str
    max_message_mb: float
    max_sessions: int
    log_level: str

    @property
    def max_message_bytes(self) -> int:
        """Largest frame that is taken."""
        return int(self.max_message_mb * MEBIBYTE)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = argparse.ArgumentParser(
        prog="serve",
        description="Serve the checkpoints of one training run: Positronic's protocol (GET /api/v1/models, WS "
        "/api/v1/session[/<checkpoint>]), openpi's (WS on any other path, GET /healthz) and GET /metrics, all on one port. "
        "Needs no ROS.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_network(made)
    _add_model(made)
    return made


def _add_network(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add(
        "--checkpoints_dir",
        "--checkpoints-dir",
        type=Path,
        required=True,
        metavar="DIR",
        help="training output, which holds checkpoints/<step>/pretrained_model",
    )
    add(
        "--checkpoint",
        default="",
        metavar="STEP",
        help="checkpoint that sessions get by default; without it the highest step at the start",
    )
    add(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 for all networks, then use a token (%(default)s)",
    )
    add("--port", type=int, default=8000, help="port; 0: a free one, which is printed (%(default)s)")
    secret = made.add_mutually_exclusive_group()
    secret.add_argument(
        "--token", default="", help="token that clients must show; visible in the process list, so better --token-file"
    )
    secret.add_argument("--token-file", type=Path, metavar="FILE", help="file whose first line is the token")
    add(
        "--max-message-mb",
        type=float,
        default=16.0,
        metavar="MB",
        help="largest message in MiB; a larger one ends its connection (%(default)s)",
    )
    add("--max-sessions", type=int, default=32, metavar="N", help="open connections at a time (%(default)s)")
    add(
        "--log-level",
        default="info",
        choices=("debug", "info", "warning", "error"),
        help="what is logged (%(default)s)",
    )


def _add_model(made: argparse.ArgumentParser) -> None:
    add = made.add_argument
    add("--device", default="cpu", help="Torch device: cpu, cuda, cuda:1, mps (%(default)s)")
    add(
        "--dtype",
        default="",
        choices=("", "float32", "bfloat16", "float16"),
        help="number type of the model; without it as stored",
    )
    add(
        "--compile",
        action="store_true",
        help="compile the model; the first inferences take minutes, later ones less time",
    )
    add("--accelerate", action="store_true", help="use the accelerated runner where the policy has one")
    add(
        "--torch-threads",
        type=int,
        default=1,
        metavar="N",
        help="compute threads of the model; more than idle cores make it slower (%(default)s)",
    )
    add("--seed", type=int, default=0, help="seed of the policy's noise, set when a session opens (%(default)s)")
    add(
        "--n-action-steps",
        type=int,
        default=0,
        metavar="N",
        help="steps of each chunk that are meant to be executed; 0: the policy's own value",
    )
    add(
        "--guided",
        action="store_true",
        help="load the policy so that clients may send a prefix to continue (strategy rtc)",
    )
    add("--profile", type=Path, metavar="FILE", help="robot profile, where none travels with the checkpoint")
    add(
        "--policy",
        default="lerobot",
        help="kind of policy: an entry point of the group vla_policy.policies (%(default)s)",
    )
    add("--policy-options", default="", metavar="K=V,…", help="further options of that kind of policy")
    add(
        "--image-fit",
        default=PAD,
        choices=tuple(FITS),
        help="images of another size, in foreign keys: "
        + "; ".join(f"{name}: {text}" for name, text in FITS.items())
        + " (%(default)s)",
    )


def parse_options(arguments: list[str] | None) -> ServerOptions:
    """Return the options, or end the process with a message about the wrong one."""
    made = parser()
    given = vars(made.parse_args(arguments))
    token_file = given.pop("token_file")
    if token_file is not None:
        given["token"] = _token(made, token_file)
    if not 0 <= given["port"] <= 65535:
        made.error(f"--port {given['port']}: a port lies between 0 and 65535")
    if given["max_message_mb"] <= 0.0 or given["max_sessions"] < 1:
        made.error("--max-message-mb and --max-sessions must be positive")
    given["checkpoints_dir"] = given["checkpoints_dir"].expanduser()
    given["policy_options"] = parse_pairs(given["policy_options"], "=", "--policy-options")
    return ServerOptions(**given)


def _token(made: argparse.ArgumentParser, file: Path) -> str:
    try:
        lines = file.expanduser().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        made.error(f"--token-file {file}: cannot be read: {error}")
    if not lines or not lines[0].strip():
        made.error(f"--token-file {file}: its first line is empty; without a token every client may come in")
    return lines[0].strip()
