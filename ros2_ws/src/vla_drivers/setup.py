# SPDX-License-Identifier: Apache-2.0

from glob import glob

from setuptools import find_packages, setup

NAME = "vla_drivers"

setup(
    name=NAME,
    version="0.1.0",
    description="Thin drivers for an SO-101 arm and a Robotiq gripper behind a UR's socket; checks of ports and of a UR.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", glob("launch/*.launch.py")),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROS 2 VLA maintainers",
    maintainer_email="maintainers@ros2-vla.org",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "check_ur = vla_drivers.check_ur:main",
            "find_port = vla_drivers.find_port:main",
            "robotiq_socket = vla_drivers.robotiq.robotiq_socket_node:main",
            "so101_driver = vla_drivers.so101.so101_driver_node:main",
        ]
    },
)
