# SPDX-License-Identifier: Apache-2.0

"""The page in a headless Chromium over the simulated cell: what a person sees when a camera freezes or a node dies."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time

import pytest
from playwright.sync_api import expect, sync_playwright

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WAIT_MS = 90_000  # of a loaded machine
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: sudo apt-get install chromium"),
    pytest.mark.timeout(300),
]


class Cell:
    """The launch file as users start it, in a domain and process groups of its own."""

    def __init__(self, folder):
        private = {"ROS_DOMAIN_ID": str(random.SystemRandom().randint(1, 100)), "ROS_LOG_DIR": str(folder / "log")}
        self.env = {**os.environ, **private, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "PYTHONUNBUFFERED": "1"}
        self.log = folder / "launch.txt"
        arguments = [
            "robot:=sim_ur5e_tiny",
            "sim:=true",
            "clock:=paced",
            "operator:=person",
            "record_from:=start",
            f"output_dir:={folder}/bags",
        ]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                ["ros2", "launch", "vla_bringup", "record.launch.py", *arguments, "monitor:=web", "web_port:=0"],
                env=self.env,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.url = self.said(r"operator page of \S+: (http://\S+)")[1]

    def said(self, pattern, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.log.read_text()):
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(f"never said {pattern!r}:\n{self.log.read_text()}")

    def fault(self, name, on):
        call = ["ros2", "service", "call", f"/sim/fault/{name}", "std_srvs/srv/SetBool", f"{{data: {str(on).lower()}}}"]
        subprocess.run(call, env=self.env, check=True, capture_output=True, timeout=100)

    def pid(self, executable):
        return int(self.said(rf"\[{executable}-\d+\]: process started with pid \[(\d+)\]")[1])

    def close(self):
        self.process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(40)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    cell = Cell(tmp_path_factory.mktemp("cell"))
    yield cell
    cell.close()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def page(cell, browser):
    errors = []
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.set_default_timeout(WAIT_MS)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(cell.url)
    expect(page.locator("figure.camera.ok, figure.camera.slow")).to_have_count(2, timeout=WAIT_MS)
    yield page
    page.close()
    assert errors == []


def drawn(page, camera):
    """Whether a picture was drawn: its pixels are not all the same."""
    script = """(canvas) => { const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return canvas.width > 64 && new Set(data.filter((_, i) => i % 4 === 0)).size > 8; }"""
    return page.locator(f"figure[data-camera={camera}] canvas").evaluate(script)


def until(condition, what):
    deadline = time.monotonic() + WAIT_MS * 1e-3
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_an_episode_from_start_to_its_thumbnail(cell, page):
    until(lambda: drawn(page, "front") and drawn(page, "wrist"), "no pictures")
    expect(page.locator("#robot")).to_have_text("sim_ur5e_tiny")
    expect(page.locator("#streams tbody tr")).to_have_count(6)
    expect(page.locator(".plot")).to_have_count(7)
    expect(page.locator(".plot .value").first).to_have_text(re.compile(r"^-?\d+\.\d{3}$"), timeout=WAIT_MS)
    expect(page.locator("[data-command=save]")).to_be_disabled()
    page.fill("#task", "put the block into the bin")
    page.keyboard.press("r")  # typed into the task, no command
    expect(page.locator("#task")).to_have_value("put the block into the binr")
    page.fill("#task", "put the block into the bin")
    page.keyboard.press("Enter")
    expect(page.locator("#answer")).to_have_text("recorder: task set", timeout=WAIT_MS)
    page.keyboard.press("r")
    expect(page.locator("#phase.recording")).to_be_visible(timeout=WAIT_MS)
    expect(page.locator("[data-command=start]")).to_be_disabled(timeout=WAIT_MS)
    page.click("[data-command=success]:enabled")
    expect(page.locator("#answer.good")).to_have_text(re.compile("^saved as success"), timeout=WAIT_MS)
    card = page.locator(".episode")
    expect(card).to_have_count(1, timeout=WAIT_MS)
    expect(card).to_contain_text("put the block into the bin")
    expect(card.locator(".outcome.success")).to_be_visible()
    until(lambda: card.locator("img").evaluate("(image) => image.naturalWidth") == 96, "no thumbnail")
    page.keyboard.press("f")  # nothing is open: the last episode is labelled anew
    expect(card.locator(".outcome.failure")).to_be_visible(timeout=WAIT_MS)


def test_stop_is_answered_by_the_arm(page):
    page.keyboard.press("Escape")
    expect(page.locator("#answer.good")).to_contain_text("arm: nothing was running", timeout=WAIT_MS)


def test_a_camera_that_freezes_looks_frozen(cell, page):
    cell.fault("silent/wrist", True)
    wrist = page.locator("figure[data-camera=wrist]")
    expect(wrist).to_have_class("camera stale", timeout=WAIT_MS)
    expect(wrist.locator(".notice")).to_contain_text("FROZEN")
    expect(wrist.locator(".notice")).to_be_visible()
    expect(page.locator("#alerts")).to_contain_text("no messages: camera wrist", timeout=WAIT_MS)
    expect(page.locator("#events .error").first).to_contain_text("/wrist_camera/color/image_raw", timeout=WAIT_MS)
    expect(page.locator("figure[data-camera=front]")).not_to_have_class("camera stale")
    cell.fault("silent/wrist", False)
    expect(wrist).not_to_have_class("camera stale", timeout=WAIT_MS)
    expect(wrist.locator(".notice")).to_be_hidden()


def test_it_fits_desk_tablet_and_phone_and_fingers(page):
    measured = {}
    for size in ((768, 1024), (1024, 768), (390, 844), (1440, 900)):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        measured[size] = page.evaluate(
            """() => { window.scrollTo(0, document.body.scrollHeight);
                const stop = document.querySelector("#stop").getBoundingClientRect();
                const shown = [...document.querySelectorAll("button[data-command]")].filter((b) => b.offsetParent);
                const answer = { width: document.documentElement.scrollWidth, height: stop.height, top: stop.top,
                    right: stop.right, least: Math.min(...shown.map((b) => b.getBoundingClientRect().height)) };
                window.scrollTo(0, 0); return answer; }"""
        )
    for (width, _), found in measured.items():
        assert found["width"] <= width  # nothing hangs over the side
        assert found["right"] <= width
        assert 0 <= found["top"] < 40  # STOP is always reachable
        assert found["height"] >= 56
        assert found["least"] >= 44


def test_a_node_that_stands_still_is_named(cell, page):
    recorder = cell.pid("recorder_node")
    os.kill(recorder, signal.SIGSTOP)
    try:
        expect(page.locator("[data-node=recorder].error")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator("#alerts")).to_contain_text("no sign of life: recorder", timeout=WAIT_MS)
        expect(page.locator("#phase")).to_have_text("no recorder", timeout=WAIT_MS)
    finally:
        os.kill(recorder, signal.SIGCONT)
    expect(page.locator("[data-node=recorder].error")).to_have_count(0, timeout=WAIT_MS)


def test_a_page_whose_server_is_gone_says_so_and_greys(cell, page):
    node = cell.pid("page_node")
    os.kill(node, signal.SIGSTOP)
    try:
        expect(page.locator("#lost")).to_be_visible(timeout=WAIT_MS)
        expect(page.locator("#lost")).to_contain_text("CONNECTION LOST")
        expect(page.locator("#lost")).to_contain_text("use the red button at the robot")
        assert "grayscale" in page.locator("main").evaluate("(main) => getComputedStyle(main).filter")
    finally:
        os.kill(node, signal.SIGCONT)
    expect(page.locator("#lost")).to_be_hidden(timeout=WAIT_MS)  # it came back by itself


def test_the_death_of_the_page_changes_nothing_else(cell, page):
    os.kill(cell.pid("page_node"), signal.SIGKILL)
    expect(page.locator("#lost")).to_be_visible(timeout=WAIT_MS)
    cell.said(r"\[page_node-\d+\]: process has died")
    listed, deadline = set(), time.monotonic() + WAIT_MS * 1e-3
    while not {"/cell", "/recorder"} <= listed and time.monotonic() < deadline:  # a list is what was discovered so far
        command = ["ros2", "node", "list"]
        listed = set(subprocess.run(command, env=cell.env, capture_output=True, text=True, timeout=100).stdout.split())
    assert {"/cell", "/recorder"} <= listed
    assert cell.process.poll() is None
