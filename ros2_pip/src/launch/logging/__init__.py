# SPDX-License-Identifier: Apache-2.0

"""Log lines of a launch: on the screen, in ``launch.log`` of the run's folder, and per process where asked for."""

import logging
import os
import socket
import sys
import tempfile
from datetime import datetime
from pathlib import Path

__all__ = ["get_logger", "get_output_loggers", "launch_config", "reset"]

_SCREEN_FORMAT = "[%(levelname)s] [%(name)s]: %(message)s"
_LOG_FORMAT = "%(created).7f [%(levelname)s] [%(name)s]: %(message)s"
_ROOT = "ros2_launch"

#: What each word for ``output`` means, stream by stream.
_PRESETS: dict[str, dict[str, set[str]]] = {
    "screen": {"stdout": {"screen"}, "stderr": {"screen"}},
    "log": {"stdout": {"log"}, "stderr": {"log", "screen"}},
    "both": {"both": {"screen", "log"}},
    "own_log": {"both": {"own_log"}, "stdout": {"own_log"}, "stderr": {"own_log"}},
    "full": {"both": {"screen", "log", "own_log"}, "stdout": {"own_log"}, "stderr": {"own_log"}},
}
_DESTINATIONS = {"screen", "log", "own_log"}
_STREAMS = {"stdout", "stderr", "both"}


class _ScreenHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the present ``sys.stdout``, which tests replace."""

    def __init__(self) -> None:
        super().__init__(sys.stdout)

    def emit(self, record: logging.LogRecord) -> None:
        self.stream = sys.stdout
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - name of the base
        """Go on without a screen if its reader has gone, as with ``| head``."""
        if not isinstance(sys.exception(), BrokenPipeError):
            super().handleError(record)
            return
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            os.dup2(nowhere.fileno(), self.stream.fileno())


class LaunchConfig:
    """Where the lines of this run go; made at first use, one per process."""

    def __init__(self) -> None:
        self._log_dir: str | None = None
        self._level = logging.INFO
        self._files: dict[str, logging.Handler] = {}
        self._screen: logging.Handler | None = None

    @property
    def log_dir(self) -> str:
        """Folder of this run, made at the first call.

        ``$ROS_LOG_DIR``, else ``$ROS_HOME/log``, else ``~/.ros/log``; in it one folder per run.
        """
        if self._log_dir is None:
            folder = _log_root() / _run_name()
            self.log_dir = str(folder)
            _link_latest(folder)
        assert self._log_dir is not None
        return self._log_dir

    @log_dir.setter
    def log_dir(self, path: str) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        self._log_dir = path

    @property
    def level(self) -> int:
        """Verbosity, as a level of the standard logging module."""
        return self._level

    @level.setter
    def level(self, level: int | str) -> None:
        self._level = logging.getLevelNamesMapping()[level.upper()] if isinstance(level, str) else level
        logging.getLogger(_ROOT).setLevel(self._level)

    def get_log_file_path(self, file_name: str = "launch.log") -> str:
        """Return the path of a file in the folder of this run."""
        return str(Path(self.log_dir) / file_name)

    def write_temporary(self, prefix: str, text: str) -> Path:
        """Write a file of a new name into the folder of this run, so that it stays with the log and not in /tmp."""
        with tempfile.NamedTemporaryFile("w", prefix=prefix, dir=self.log_dir, delete=False, encoding="utf-8") as file:
            file.write(text)
        return Path(file.name)

    def screen_handler(self) -> logging.Handler:
        """Return the handler for the screen."""
        if self._screen is None:
            self._screen = _ScreenHandler()
            self._screen.setFormatter(_LinesFormatter(_SCREEN_FORMAT))
        return self._screen

    def file_handler(self, file_name: str = "launch.log") -> logging.Handler:
        """Return the handler for a file in the folder of this run."""
        handler = self._files.get(file_name)
        if handler is None:
            handler = logging.FileHandler(self.get_log_file_path(file_name), encoding="utf-8", delay=True)
            handler.setFormatter(_LinesFormatter(_LOG_FORMAT, raw_with_time=file_name == "launch.log"))
            self._files[file_name] = handler
        return handler

    def close(self) -> None:
        """Close the files and forget the folder."""
        for handler in self._files.values():
            handler.close()
        self.__init__()  # type: ignore[misc]


class _LinesFormatter(logging.Formatter):
    """Lines of processes are passed on as they are; those of the launch get level and name."""

    def __init__(self, fmt: str, *, raw_with_time: bool = False) -> None:
        super().__init__(fmt)
        self._raw_with_time = raw_with_time

    def format(self, record: logging.LogRecord) -> str:
        if not getattr(record, "process_output", False):
            return super().format(record)
        return f"{record.created:.7f} {record.getMessage()}" if self._raw_with_time else record.getMessage()


#: The settings of this process.
launch_config = LaunchConfig()


def _log_root() -> Path:
    if os.environ.get("ROS_LOG_DIR"):
        return Path(os.environ["ROS_LOG_DIR"]).expanduser()
    home = os.environ.get("ROS_HOME") or str(Path("~") / ".ros")
    return Path(home).expanduser() / "log"


def _run_name() -> str:
    return f"{datetime.now().astimezone().strftime('%Y-%m-%d-%H-%M-%S-%f')}-{socket.gethostname()}-{os.getpid()}"


def _link_latest(folder: Path) -> None:
    """Let ``latest`` beside the folder point to it; several launches may do so at once."""
    link = folder.parent / "latest"
    if link.exists() and not link.is_symlink():
        return
    temporary = folder.parent / f".latest-{folder.name}"
    temporary.symlink_to(folder.name)
    temporary.replace(link)


def get_logger(name: str | None = None) -> logging.Logger:
    """Return a logger whose lines show this name, on the screen and in launch.log."""
    logger = logging.getLogger(_ROOT if name is None else f"{_ROOT}.{name}")
    root = logging.getLogger(_ROOT)
    if not any(isinstance(handler, _Dispatcher) for handler in root.handlers):
        root.addHandler(_Dispatcher())
        root.setLevel(launch_config.level)
        root.propagate = False
    return logger


class _Dispatcher(logging.Handler):
    """Sends the lines of the launch to the screen and to launch.log, under the short name of their logger."""

    def emit(self, record: logging.LogRecord) -> None:
        record.name = record.name.removeprefix(_ROOT).removeprefix(".") or "root"
        for handler in (launch_config.screen_handler(), launch_config.file_handler()):
            handler.handle(record)


class OutputLogger:
    """Takes the lines of one stream of one process to its destinations."""

    def __init__(self, handlers: list[logging.Handler]) -> None:
        self._handlers = handlers

    def write(self, line: str) -> None:
        """Pass a line on as it is."""
        record = logging.LogRecord("process", logging.INFO, "", 0, "%s", (line,), None)
        record.process_output = True
        for handler in self._handlers:
            handler.handle(record)


def get_output_loggers(
    process_name: str, output_config: str | dict[str, str | set[str]]
) -> tuple[OutputLogger, OutputLogger]:
    """Return the loggers of standard output and standard error of a process.

    Args:
        process_name: with its number, e.g. ``talker-1``; names the files of ``own_log``.
        output_config: screen, log, both, own_log, full, or for each of stdout, stderr, both a set of screen, log, own_log.

    Raises:
        ValueError: another word.
    """
    config = _normalize_output(output_config)
    files = {
        "stdout": f"{process_name}-stdout.log",
        "stderr": f"{process_name}-stderr.log",
        "both": f"{process_name}.log",
    }
    handlers: dict[str, list[logging.Handler]] = {}
    for stream in _STREAMS:
        wanted = config.get(stream, set())
        shared = {"screen": launch_config.screen_handler, "log": launch_config.file_handler}
        handlers[stream] = [make() for word, make in shared.items() if word in wanted]
        if "own_log" in wanted:
            handlers[stream].append(launch_config.file_handler(files[stream]))
    return tuple(  # type: ignore[return-value]
        OutputLogger(list(dict.fromkeys([*handlers[stream], *handlers["both"]]))) for stream in ("stdout", "stderr")
    )


def _normalize_output(output_config: str | dict[str, str | set[str]]) -> dict[str, set[str]]:
    if isinstance(output_config, str):
        if output_config not in _PRESETS:
            raise ValueError(
                f"'{output_config}' is not a valid standard output config, expected one of {sorted(_PRESETS)}"
            )
        return _PRESETS[output_config]
    config = {stream: {words} if isinstance(words, str) else set(words) for stream, words in output_config.items()}
    unknown_streams = set(config) - _STREAMS
    unknown_words = set().union(*config.values()) - _DESTINATIONS if config else set()
    if unknown_streams or unknown_words:
        unknown = sorted(unknown_streams | unknown_words)
        raise ValueError(f"output: {unknown} unknown, expected {sorted(_STREAMS)} with {sorted(_DESTINATIONS)}")
    return config


def reset() -> None:
    """Forget folder, files and handlers; the next line opens a new run."""
    launch_config.close()
    root = logging.getLogger(_ROOT)
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _Dispatcher)]
