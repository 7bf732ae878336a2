# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

# LeRobot imports installed distributions whose name begins with `lerobot_teleoperator_`.
NAME = "lerobot_teleoperator_ros2"

setup(
    name=NAME,
    version="0.1.0",
    description="LeRobot's commands driven from ROS 2: the teleoperator plug-in `ros2`.",
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
