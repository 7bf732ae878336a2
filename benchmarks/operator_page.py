# SPDX-License-Identifier: Apache-2.0

"""What does the operator page cost, and does the recorder lose messages because of it?

    python benchmarks/operator_page.py --json result.json      # 60 s without the page, 60 s with it
    python benchmarks/operator_page.py --quick                 # 12 s each

Four raw 640x480 cameras at 30 Hz (110 MB/s), one JointState at 500 Hz and five topics at 100 Hz are published by
processes of their own and number their payloads. The real recorder records them; then the bag is read and the numbers are
counted. The second time the page's node runs as well, with one viewer that takes everything over a WebSocket as a browser
does. The viewer's own cost is not counted, nor that of drawing in a browser.

The JSON holds ``machine``, ``load_average`` and ``rows``, each with

* ``name`` (``without``, ``with``, ``nobody``: the page runs and nobody looks), ``duration_s``;
* ``messages``, ``lost``, ``duplicates``, ``out_of_order`` of the recorder, over all topics;
* ``recorder_percent`` and ``page_percent``: CPU of one core, user and system; ``page_rss_mb``;
* ``pictures_hz``: pictures per second that the viewer got, over all cameras; ``viewer_kb_per_s``.

The exit code is 1 if the page takes more than 15 % of a core, or more was lost with the page than without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import aiohttp
import rclpy
from record import ON_THE_WAY_NS, losses, streams
from vla_recorder.testing.load import Load, Publisher, Stream
from vla_recorder.testing.recorder import Operator, RecorderProgram, load_profile_text, process_cost

CAMERAS = ("front", "wrist", "left", "right")
BAR_PERCENT = 15.0
START_S, SETTLE_S = 60.0, 4.0
WAYS = ("without", "with", "nobody")


class Page:
    """The page's node in a process of its own, with a viewer or without."""

    def __init__(self, folder: Path, profile: Path, *, viewer: bool) -> None:
        """Start it and wait until it is open, and until the viewer has got a picture."""
        self._log = folder / "page.txt"
        command = [sys.executable, "-m", "vla_web.page_node", "--ros-args", "-p", f"profile:={profile}"]
        with self._log.open("w") as out:
            self.process = subprocess.Popen([*command, "-p", "web_port:=0"], stdout=out, stderr=subprocess.STDOUT)
        self.pictures = self.received = 0
        self._ending = threading.Event()
        self._viewer = threading.Thread(target=lambda: asyncio.run(self._view(self._address())), daemon=True)
        if viewer:
            self._viewer.start()
            self._until(lambda: self.pictures > len(CAMERAS), "the viewer got no pictures")
        else:
            self._address()

    def close(self) -> None:
        """End it."""
        self._ending.set()
        if self._viewer.is_alive():
            self._viewer.join(10)
        self.process.terminate()
        self.process.wait(20)

    def _address(self) -> str:
        self._until(lambda: "http://" in self._log.read_text(), "the page did not open")
        return re.findall(r"http://\S+", self._log.read_text())[0]

    def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + START_S
        while not condition():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"{what}; it said: {self._log.read_text()}")
            time.sleep(0.05)

    async def _view(self, url: str) -> None:
        async with (
            aiohttp.ClientSession(headers={"Origin": url.rstrip("/")}) as session,
            session.ws_connect(f"{url}live") as socket,
        ):
            while not self._ending.is_set():
                message = await socket.receive(timeout=START_S)
                self.received += len(message.data)
                self.pictures += message.type == aiohttp.WSMsgType.BINARY


def measure(way: str, load: tuple[Stream, ...], options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Record for a while, with the page or without, and return the row."""
    profile = folder / "robot.yaml"
    profile.write_text(load_profile_text(load))
    program = RecorderProgram(folder, profile, max_duration_s=0.0)
    operator = Operator()
    images = [stream for stream in load if "Image" in stream.type]
    groups = [(image,) for image in images] + [tuple(stream for stream in load if stream not in images)]
    publishers = [
        Publisher(Load(streams=group, log=str(folder / f"load_{number}.bin"), reliability="reliable"))
        for number, group in enumerate(groups)
    ]
    page = None
    try:
        page = None if way == "without" else Page(folder, profile, viewer=way == "with")
        operator.start(START_S)
        time.sleep(SETTLE_S)
        row = {"name": way, **watched(program.process.pid, page, options.seconds)}
        begin_ns, end_ns = row.pop("begin_ns"), row.pop("end_ns")
        answer = operator.stop()
        if answer is None or not answer.bag_path:
            raise RuntimeError(f"the recorder answered {answer} to the stop request; it said: {program.said}")
        sent = [message for publisher in publishers for message in publisher.stop()]
        file = next(Path(answer.bag_path).glob("*.mcap"))
        return row | losses(file, load, sent, begin_ns, end_ns - ON_THE_WAY_NS)
    finally:
        if page is not None:
            page.close()
        operator.close()
        for publisher in publishers:
            publisher.kill()
        program.kill()


def watched(recorder: int, page: Page | None, seconds: float) -> dict[str, Any]:
    """Wait, and return what the two processes took meanwhile."""
    begin, begin_ns, (recorder_before, _) = time.monotonic(), time.time_ns(), process_cost(recorder)
    page_before = 0.0 if page is None else process_cost(page.process.pid)[0]
    pictures, received = (0, 0) if page is None else (page.pictures, page.received)
    time.sleep(seconds)
    wall_s, end_ns = time.monotonic() - begin, time.time_ns()
    row: dict[str, Any] = {"duration_s": round(wall_s, 2), "begin_ns": begin_ns, "end_ns": end_ns}
    row["recorder_percent"] = round(100 * (process_cost(recorder)[0] - recorder_before) / wall_s, 1)
    if page is not None:
        cpu_s, rss_mb = process_cost(page.process.pid)
        row |= {"page_percent": round(100 * (cpu_s - page_before) / wall_s, 1), "page_rss_mb": round(rss_mb, 1)}
        row |= {"pictures_hz": round((page.pictures - pictures) / wall_s, 1)}
        row |= {"viewer_kb_per_s": round((page.received - received) / 1e3 / wall_s, 1)}
    return row


def main() -> int:
    """Run the benchmark; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="recorded time per row (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="12 s per row")
    parser.add_argument("--json", type=Path, help="file for the report")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["without", "with"], help="rows to measure")
    parser.add_argument("--height", type=int, default=480, help="of the images [pixels] (default: %(default)s)")
    parser.add_argument("--width", type=int, default=640, help="of the images [pixels] (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where bags are written meanwhile: 6.6 GB a minute")
    options = parser.parse_args()
    options.seconds = 12.0 if options.quick else options.seconds
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ["ROS_DOMAIN_ID"] = str(random.randint(1, 100))
    rclpy.init()
    before, rows = os.getloadavg()[0], []
    for way in options.ways:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            load = streams("Image", CAMERAS, options.height, options.width)
            rows.append(measure(way, load, options, Path(folder)))
        print(json.dumps({key: value for key, value in rows[-1].items() if key != "topics"}), flush=True)
    rclpy.try_shutdown()
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    report = {"machine": machine, "load_average": [before, os.getloadavg()[0]], "rows": rows}
    print(f"{report['machine']}; load average {report['load_average']}")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n")
    lost = {row["name"]: row["lost"] for row in rows}
    dear = any(row.get("page_percent", 0.0) > BAR_PERCENT for row in rows)
    return 1 if dear or lost.get("with", 0) > lost.get("without", lost.get("with", 0)) else 0


if __name__ == "__main__":
    sys.exit(main())
