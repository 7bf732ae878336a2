# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_monitor"

setup(
    name=NAME,
    version="0.1.0",
    description="Seeing what happens: markers, transforms, rerun.",
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
    entry_points={
        "console_scripts": [
            "markers_node = vla_monitor.markers_node:main",
            "rerun_node = vla_monitor.rerun_node:main",
            "robot_state = vla_monitor.robot_state_node:main",
        ]
    },
)
