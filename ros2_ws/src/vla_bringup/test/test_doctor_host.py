# SPDX-License-Identifier: Apache-2.0

"""What the doctor says about a machine: trees of files and environments that are made up, one bad case each."""

from pathlib import Path

import pytest
from doctor_cases import profile
from vla_bringup.doctor.findings import Group, conclude
from vla_bringup.doctor.host import Host, judge_devices, judge_disk, judge_machine, judge_versions
from vla_bringup.doctor.network import judge_network

SHIPPED = Path(__file__).parents[1] / "config" / "fastdds_shm.xml"
MEMORY = "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\n"


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "proc/meminfo", MEMORY)
    write(tmp_path, "proc/sys/net/core/rmem_max", "33554432")
    (tmp_path / "dev/shm").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    return tmp_path


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def program(root, name, text, code=0):
    path = write(root, f"bin/{name}", f"#!/bin/sh\nprintf '{text}'\nexit {code}\n")
    path.chmod(0o755)


def host(root, **env):
    settled = {"ROS_DOMAIN_ID": "7", "FASTRTPS_DEFAULT_PROFILES_FILE": str(SHIPPED)}
    return Host(root=root, env={"PATH": str(root / "bin"), **settled, **env}, timeout_s=5.0)


def line(findings, word):
    (found,) = (finding.line for finding in findings if word in finding.line)
    return found


def network(root, **env):
    return judge_network(host(root, **env), "rmw_fastrtps_cpp", None, SHIPPED)


@pytest.mark.parametrize(
    ("env", "word", "parts"),
    [
        ({"ROS_DOMAIN_ID": ""}, "ROS_DOMAIN_ID", ("YELLOW", "domain 0, shared with everybody", "export ROS_DOMAIN_ID")),
        ({"ROS_DOMAIN_ID": "x"}, "ROS_DOMAIN_ID", ("RED", "'x' is no domain")),
        ({"ROS_DOMAIN_ID": "150"}, "ROS_DOMAIN_ID", ("YELLOW", "ports may be taken")),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}, "discovery", ("RED", "switched off", "SUBNET")),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "LAN"}, "discovery", ("RED", "means nothing", "LOCALHOST")),
        ({"ROS_LOCALHOST_ONLY": "1"}, "discovery", ("YELLOW", "deprecated")),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": ""}, "DDS transport", ("YELLOW", "512 kB", "export FASTRTPS")),
        ({"FASTRTPS_DEFAULT_PROFILES_FILE": "/no.xml"}, "DDS transport", ("RED", "No such file")),
    ],
)
def test_environment_of_the_network(root, env, word, parts):
    found = line(network(root, **env), word)
    assert all(part in found for part in parts), found


def test_a_good_network_is_green(root):
    program(root, "chronyc", "System time     : 0.000001234 seconds fast of NTP time\\n")
    assert {finding.level for finding in network(root) if "/dev/shm" not in finding.where} == {"green"}


def test_segments_that_are_smaller_than_an_image(root):
    small = write(root, "small.xml", "<dds><segment_size>1000</segment_size></dds>")
    found = line(network(root, FASTRTPS_DEFAULT_PROFILES_FILE=str(small)), "DDS transport")
    assert found.startswith("RED")
    assert "images are lost silently" in found
    write(root, "small.xml", "<dds>")
    assert "is no XML" in line(network(root, FASTRTPS_DEFAULT_PROFILES_FILE=str(small)), "DDS transport")


def test_socket_buffers_matter_between_hosts_only(root):
    write(root, "proc/sys/net/core/rmem_max", "212992")
    assert "sudo sysctl -w net.core.rmem_max" in line(network(root), "socket buffers")
    local = line(network(root, ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST"), "socket buffers")
    assert local.startswith("GREEN")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("System time     : 0.250000000 seconds slow of NTP time\\n", "chrony: 250.000 ms slow"),
        ("Leap status     : Not synchronised\\n", "is not synchronised"),
    ],
)
def test_clock_that_is_off(root, text, part):
    program(root, "chronyc", text)
    found = line(network(root), "YELLOW clock")
    assert part in found
    assert "apt-get install chrony" in found


def test_memory_governor_and_gpu(root):
    write(root, "proc/meminfo", MEMORY.replace("8000000", "300000"))
    write(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave")
    (root / "proc/driver/nvidia").mkdir(parents=True)
    found = judge_machine(host(root))
    assert "0.3 of 16.4 GB are free" in line(found, "RED    memory")
    assert "cpupower frequency-set -g performance" in line(found, "YELLOW processor")
    assert "nvidia-smi does not answer" in line(found, "RED    GPU")


def test_disk(tmp_path):
    place = tmp_path / "bags" / "today"
    assert all("disk of" in finding.where for finding in judge_disk(place, profile()))
    assert not place.exists()
    assert not list(tmp_path.glob(".doctor*"))


def test_serial_port_and_camera_that_is_busy(root):
    write(root, "dev/ttyACM0", "")
    (root / "dev/serial/by-id").mkdir(parents=True)
    (root / "dev/serial/by-id/usb-Servo_A7").symlink_to(root / "dev/ttyACM0")
    video = write(root, "dev/video0", "")
    write(root, "proc/42/comm", "cheese")
    (root / "proc/42/fd").mkdir()
    (root / "proc/42/fd/3").symlink_to(video)
    found = judge_devices(host(root))
    assert "ttyACM0 (usb-Servo_A7)" in line(found, "serial ports")
    assert "video0 is open in cheese (42), so no driver can start with it" in line(found, "YELLOW cameras")


def test_another_distribution_is_red(root):
    found = judge_versions(host(root, ROS_DISTRO="humble"), "rmw_fastrtps_cpp")
    assert "source /opt/ros/jazzy/setup.bash" in line(found, "RED    ROS")


def test_report_has_no_colour_in_a_file_and_json_has_everything(root, tmp_path, capsys):
    groups = [Group("network", tuple(network(root, ROS_DOMAIN_ID="x")))]
    assert conclude(groups, str(tmp_path / "report.json"), {"robot": "r"}) == 1
    shown = capsys.readouterr().out
    assert "\033" not in shown
    assert "1 red: repair what is red first" in shown
    text = (tmp_path / "report.json").read_text()
    assert '"level": "red"' in text
    assert '"exit_code": 1' in text
