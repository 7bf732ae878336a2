# SPDX-License-Identifier: Apache-2.0

"""Commands in a ROS domain and a process group of their own; nothing of them outlives the test."""

import contextlib
import os
import random
import signal
import subprocess


def isolated(folder, **more):
    """The environment of a domain that no other test uses; logs go to `folder`."""
    domain = str(random.SystemRandom().randint(1, 100))
    private = {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST", "ROS_LOG_DIR": str(folder)}
    return {**os.environ, **private, **more}


def begin(command, env, stdout=subprocess.PIPE):
    """Start a command as the leader of a process group."""
    return subprocess.Popen(
        command, env=env, stdout=stdout, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def end(process, patience_s=0.0):
    """End what is left of a process group, by SIGINT where there is patience."""
    if patience_s and process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def run(env, *command, timeout=100):
    """Exit status and output of a command, whose whole group ends with it or with the test."""
    process = begin(command, env)
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end(process)
        raise AssertionError(f"not over after {timeout} s: {' '.join(command)}\n{process.communicate()[0]}") from None
    finally:
        end(process)
    return process.returncode, out


def launch(env, file, *arguments, timeout=100):
    """`run` of a launch file of vla_bringup."""
    return run(env, "ros2", "launch", "vla_bringup", f"{file}.launch.py", *arguments, timeout=timeout)


def install_policy(folder, name, module):
    """Make the file `module` a package that offers its `load` as policy `name`; returns what goes on PYTHONPATH."""
    info = folder / f"{module.stem}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.stem.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vla_policy.policies]\n{name} = {module.stem}:load\n")
    (folder / module.name).write_text(module.read_text())
    return f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
