# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_core"

setup(
    name=NAME,
    version="0.1.0",
    description="Profiles, codecs, frames, chunks and safety of the ROS 2 VLA workspace; NumPy and YAML only.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=["setuptools", "numpy", "PyYAML"],
    extras_require={"images": ["opencv-python-headless"], "video": ["av"], "test": ["pytest"]},
    zip_safe=False,
    maintainer="ROS 2 VLA maintainers",
    maintainer_email="maintainers@ros2-vla.org",
    license="Apache-2.0",
    entry_points={"console_scripts": []},
)
