# SPDX-License-Identifier: Apache-2.0

from glob import glob

from setuptools import find_packages, setup

NAME = "vla_bringup"

setup(
    name=NAME,
    version="0.1.0",
    description="Launch files, robot profiles and parameters of the ROS 2 VLA workspace.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        (f"share/{NAME}/launch", sorted(glob("launch/*.launch.py"))),
        (f"share/{NAME}/robots", sorted(glob("robots/*.yaml"))),
        (f"share/{NAME}/config", sorted(glob("config/*"))),
        (f"share/{NAME}/rviz", sorted(glob("rviz/*.rviz"))),
        (f"share/{NAME}/foxglove", sorted(glob("foxglove/*.json"))),
    ],
    install_requires=["setuptools"],
    extras_require={"test": ["pytest"]},
    zip_safe=False,
    maintainer="ROS 2 VLA maintainers",
    maintainer_email="maintainers@ros2-vla.org",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            "check_profile = vla_bringup.doctor.check_profile:main",
            "doctor = vla_bringup.doctor.main:main",
            "hardware_day = vla_bringup.doctor.hardware_day:main",
            "monitor_config = vla_bringup.monitor_config:main",
            "preflight = vla_bringup.doctor.preflight:main",
        ]
    },
)
