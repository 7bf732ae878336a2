# SPDX-License-Identifier: Apache-2.0

"""``ros2 run vla_recorder push``: upload a dataset to the Hugging Face Hub, and prove that it arrived."""

# ruff: noqa: T201  (a command prints)

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from vla_core.errors import VlaError

from vla_recorder.formats.lerobot_check import check_complete

EXIT_OK, EXIT_FAILURE = 0, 1
CARD = "README.md"
_TYPE = "dataset"
_REPLACED = ["data/*", "videos/*", "meta/*"]
_NOT_UPLOADED = (".git/", ".cache/huggingface/")
"""What the client leaves out of every upload."""

_EXAMPLE = """example:
  ros2 run vla_recorder push outputs/demo/dataset --repo-id alice/ur5e_lift --private

needs a token that may write: run `hf auth login`, or set HF_TOKEN. HF_ENDPOINT names another server than the Hub.
"""


class PushError(VlaError):
    """The dataset did not arrive on the Hub."""


def push(root: Path, repo_id: str, *, private: bool = False, overwrite: bool = False, api: HfApi | None = None) -> str:
    """Upload a dataset in one commit, tag it with its version and compare the sizes of all files; return its address.

    Args:
        root: Complete LeRobot dataset.
        repo_id: ``user/name``; made if absent.
        private: Whether a new repository can only be seen by its owner.
        overwrite: Replace the dataset in the repository.
        api: Client of the Hub; by default the one that ``HF_ENDPOINT`` and the saved token give.

    Raises:
        DatasetError: The dataset is incomplete.
        PushError: There is no token, it may not write, the repository holds a dataset already, or a file did not arrive.
    """
    info = check_complete(root)
    api = api or HfApi()
    if not (api.token or get_token()):
        raise PushError(
            f"{repo_id}: there is no token for {api.endpoint}; run `hf auth login`, or set HF_TOKEN to a token that may "
            "write datasets"
        )
    try:
        return _upload(api, root, repo_id, info, private=private, overwrite=overwrite)
    except HFValidationError as error:
        raise PushError(f"--repo-id {repo_id}: {error}") from error
    except OfflineModeIsEnabled as error:
        raise PushError(f"{repo_id}: HF_HUB_OFFLINE is set; unset it to upload") from error
    except HfHubHTTPError as error:
        raise PushError(f"{repo_id}: {_reason(api, error)}") from error
    except OSError as error:
        raise PushError(f"{repo_id}: {api.endpoint} cannot be reached ({error})") from error


def _upload(api: HfApi, root: Path, repo_id: str, info: dict[str, Any], *, private: bool, overwrite: bool) -> str:
    address = api.create_repo(repo_id, repo_type=_TYPE, private=private, exist_ok=True)
    if not overwrite and any(name.startswith("meta/") for name in api.list_repo_files(repo_id, repo_type=_TYPE)):
        raise PushError(f"{repo_id}: holds a dataset already; replace it with --overwrite, or choose another --repo-id")
    if not (root / CARD).exists():
        api.upload_file(
            path_or_fileobj=card(info).encode(),
            path_in_repo=CARD,
            repo_id=repo_id,
            repo_type=_TYPE,
            commit_message="Dataset card",
        )
    message = f"{info['total_episodes']} episodes, {info['total_frames']} frames"
    api.upload_folder(
        repo_id=repo_id, repo_type=_TYPE, folder_path=root, commit_message=message, delete_patterns=_REPLACED
    )
    _verify(api, root, repo_id)
    # LeRobot looks datasets up by a tag with the version of their layout.
    tag = str(info["codebase_version"])
    if any(ref.name == tag for ref in api.list_repo_refs(repo_id, repo_type=_TYPE).tags):
        api.delete_tag(repo_id, tag=tag, repo_type=_TYPE)
    api.create_tag(repo_id, tag=tag, repo_type=_TYPE)
    return str(address)


def _verify(api: HfApi, root: Path, repo_id: str) -> None:
    arrived = {
        item.path: item.size
        for item in api.list_repo_tree(repo_id, recursive=True, repo_type=_TYPE)
        if hasattr(item, "size")
    }
    for path in sorted(root.rglob("*")):
        name, size = path.relative_to(root).as_posix(), path.stat().st_size
        if path.is_file() and not name.startswith(_NOT_UPLOADED) and arrived.get(name) != size:
            there = "is not there" if name not in arrived else f"has {arrived[name]} bytes there"
            raise PushError(f"{repo_id}: {name} {there}, {size} here; push again with --overwrite")


def _reason(api: HfApi, error: HfHubHTTPError) -> str:
    if error.response.status_code in (401, 403):
        return (
            f"{api.endpoint} refuses the token ({error.response.status_code}): it is wrong, has expired or may not write "
            "there; make one with write access to the namespace, then run `hf auth login` or set HF_TOKEN"
        )
    return f"{api.endpoint} answered {error.response.status_code}: {error.server_message or error}"


def card(info: dict[str, Any]) -> str:
    """Return the dataset card: what the Hub shows and what it indexes."""
    features = "\n".join(f"| `{name}` | {spec['dtype']} | {spec['shape']} |" for name, spec in info["features"].items())
    return (
        "---\ntask_categories:\n- robotics\ntags:\n- LeRobot\nconfigs:\n- config_name: default\n"
        "  data_files: data/*/*.parquet\n---\n\n"
        f"LeRobot {info['codebase_version']} dataset of {info['robot_type']}: {info['total_episodes']} episodes, "
        f"{info['total_frames']} frames at {info['fps']} Hz.\n\n"
        f"| feature | type | shape |\n|---|---|---|\n{features}\n"
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    result = argparse.ArgumentParser(
        prog="push",
        description="Upload a LeRobot dataset (v3.0 or v2.1) to the Hugging Face Hub. A dataset that is not complete is "
        "refused; after the upload the size of every file is compared.",
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    result.add_argument("dataset", type=Path, metavar="DATASET", help="folder of the dataset")
    result.add_argument("--repo-id", required=True, metavar="USER/NAME", help="repository; made if absent")
    result.add_argument("--private", action="store_true", help="a new repository can only be seen by its owner")
    result.add_argument("--overwrite", action="store_true", help="replace the dataset that the repository holds")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command."""
    given = parser().parse_args(arguments)
    try:
        address = push(given.dataset, given.repo_id, private=given.private, overwrite=given.overwrite)
    except VlaError as error:
        print(f"push: {error}", file=sys.stderr)
        sys.exit(EXIT_FAILURE)
    print(address)


if __name__ == "__main__":
    main()
