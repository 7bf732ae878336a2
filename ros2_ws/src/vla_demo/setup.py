# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_demo"

setup(
    name=NAME,
    version="0.1.0",
    description="The guided tour: record, convert, train and run a policy in simulation, and report how well it does.",
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
    entry_points={"console_scripts": ["demo = vla_demo.main:main", "plot_episode = vla_demo.episode_plot:main"]},
)
