# SPDX-License-Identifier: Apache-2.0

from glob import glob

from setuptools import find_packages, setup

NAME = "vla_teleop"

setup(
    name=NAME,
    version="0.1.0",
    description="Teleoperation devices, waypoint skills, the operator's day and camera calibration.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/config/devices", glob("config/devices/*.yaml")),
        (f"share/{NAME}/config/skills", glob("config/skills/*")),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROS 2 VLA maintainers",
    maintainer_email="maintainers@ros2-vla.org",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "apply_camera_settings = vla_teleop.cameras.camera_settings_node:main",
            "calibrate_cameras = vla_teleop.cameras.calibrate_cameras:main",
            "calibrate_hand_eye = vla_teleop.cameras.calibrate_hand_eye:main",
            "camera_frames = vla_teleop.cameras.camera_frames_node:main",
            "check_drift = vla_teleop.cameras.check_drift:main",
            "check_skill = vla_teleop.node.check_skill:main",
            "make_board = vla_teleop.cameras.make_board:main",
            "monitor_inputs = vla_teleop.devices.monitor_inputs:main",
            "operator_node = vla_teleop.operator.operator_node:main",
            "record_skill = vla_teleop.node.record_skill:main",
            "skill_node = vla_teleop.node.skill_node:main",
            "teleop_node = vla_teleop.node.teleop_node:main",
        ]
    },
)
