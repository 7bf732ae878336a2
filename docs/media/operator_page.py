# SPDX-License-Identifier: Apache-2.0

"""Draw operator_page*.png: the operator page over the simulated cell, while a scripted policy runs and is recorded.

    python docs/media/operator_page.py                     # all pictures, a few minutes; needs a Chromium
    python docs/media/operator_page.py --out /tmp/pictures --robot sim_ur5e_tiny

Pictures: `operator_page.png` (a desk), `operator_page_tablet.png` (portrait, dark), `operator_page_landscape.png`,
`operator_page_frozen.png` (a camera that froze) and `operator_page_lost.png` (the page's own node is gone).
"""

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from playwright.sync_api import Browser, Page, expect, sync_playwright

HERE = Path(__file__).resolve().parent
DESK, PORTRAIT, LANDSCAPE = (1440, 900), (768, 1024), (1024, 768)
START_S = 180.0
WATCHED_S = 4.0  # simulated time of each run
RECORDED = 4  # episodes in the list of the picture


def chromium() -> str:
    """The browser's program.

    Raises:
        SystemExit: There is none.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("no Chromium found; install it (sudo apt-get install chromium)")


@contextmanager
def launched(folder: Path, *arguments: str) -> Iterator[tuple[str, dict[str, str]]]:
    """A launch file of vla_bringup with the page, in a DDS domain of its own; gives the page's address and environment."""
    env = {**os.environ, "ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 100))}
    env.update(ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST", ROS_LOG_DIR=str(folder / "log"), PYTHONUNBUFFERED="1")
    log = folder / "launch.txt"
    with log.open("w") as out:
        command = ["ros2", "launch", "vla_bringup", *arguments, "monitor:=web", "web_port:=0"]
        process = _begin(command, env, out)
        try:
            yield _address(log, process), env
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _begin(command: list[str], env: dict[str, str], out: IO[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(command, env=env, stdout=out, stderr=subprocess.STDOUT, text=True, start_new_session=True)


def _address(log: Path, process: "subprocess.Popen[str]") -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(r"operator page of \S+: (http://\S+)", log.read_text()):
            return found[1]
        time.sleep(0.2)
    raise SystemExit(f"the page did not open:\n{log.read_text()}")


def opened(browser: Browser, url: str, size: tuple[int, int], scheme: str) -> Page:
    """The page in a window of a size, with a picture of each camera."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page.goto(url)
    page.wait_for_selector(".camera.ok, .camera.slow", timeout=START_S * 1e3)
    expect(page.locator(".camera:not(.ok, .slow)")).to_have_count(0, timeout=START_S * 1e3)
    return page


def record(page: Page, episodes: int, watched_s: float) -> None:
    """Run the policy, which the launch records, `episodes` times; the last one is left running."""
    page.on("dialog", lambda dialog: dialog.accept())
    for number in range(episodes):
        expect(page.locator("button.busy")).to_have_count(0, timeout=START_S * 1e3)
        page.click("[data-command=run_policy]:enabled", timeout=START_S * 1e3)
        page.wait_for_selector("#policy-panel[data-state=running]", timeout=START_S * 1e3)
        page.wait_for_timeout(1e3 * watched_s)
        if number == episodes - 1:
            return
        page.click("#stop")
        page.wait_for_selector("[data-command=run_policy]:enabled", timeout=START_S * 1e3)
        page.click(f"[data-command={'failure' if number == 1 else 'success'}]:enabled", timeout=START_S * 1e3)


def draw(browser: Browser, url: str, env: dict[str, str], out: Path, watched_s: float) -> Page:
    """All pictures that need the node; returns the page, still open."""
    page = opened(browser, url, DESK, "light")
    record(page, RECORDED, watched_s)
    _shot(page, out / "operator_page.png")
    for size, scheme, name in ((PORTRAIT, "dark", "tablet"), (LANDSCAPE, "light", "landscape")):
        other = opened(browser, url, size, scheme)
        other.wait_for_timeout(1e3 * watched_s)
        _shot(other, out / f"operator_page_{name}.png")
        other.close()
    fault = ["ros2", "service", "call", "/sim/fault/silent/wrist", "std_srvs/srv/SetBool", "{data: true}"]
    subprocess.run(fault, env=env, check=True, stdout=subprocess.DEVNULL, timeout=START_S)
    page.wait_for_selector(".camera.stale", timeout=START_S * 1e3)
    page.wait_for_timeout(3000)
    _shot(page, out / "operator_page_frozen.png")
    return page


def _shot(page: Page, path: Path, *, live: bool = True) -> None:
    if live:  # on a busy machine the page may have been without news for a moment
        page.wait_for_selector("#lost", state="hidden", timeout=START_S * 1e3)
    page.evaluate("() => window.scrollTo(0, 0)")
    page.mouse.move(0, 0)
    page.screenshot(path=str(path), full_page=True)
    print(path, flush=True)  # noqa: T201


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        description="Draw the pictures of the operator page.", epilog="example: python docs/media/operator_page.py"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the pictures (default: beside this script)")
    parser.add_argument("--robot", default="sim_ur5e", help="simulated robot profile (default: %(default)s)")
    parser.add_argument(
        "--factor", type=float, default=0.5, help="simulated seconds per second; less on a busy machine (default: 0.5)"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        arguments = ["infer.launch.py", "policy:=scripted", "sim:=true", "clock:=paced", f"robot:={args.robot}"]
        arguments += [f"real_time_factor:={args.factor}", "record_eval:=true", f"output_dir:={folder}/bags"]
        with launched(Path(folder), *arguments) as (url, env):
            page = draw(browser, url, env, args.out, WATCHED_S / args.factor)
        page.wait_for_selector("#lost:not([hidden])", timeout=START_S * 1e3)
        _shot(page, args.out / "operator_page_lost.png", live=False)
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
