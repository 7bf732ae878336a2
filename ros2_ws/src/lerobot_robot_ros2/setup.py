# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

# LeRobot imports installed distributions whose name begins with `lerobot_robot_`.
NAME = "lerobot_robot_ros2"

setup(
    name=NAME,
    version="0.1.0",
    description="LeRobot's commands on any robot with a ROS 2 profile: the robot plug-in `ros2`.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROS 2 VLA maintainers",
    maintainer_email="maintainers@ros2-vla.org",
    license="Apache-2.0",
)
