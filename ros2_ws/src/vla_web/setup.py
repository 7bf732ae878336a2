# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_web"

setup(
    name=NAME,
    version="0.1.0",
    description="The operator page: cameras, stream health, plots, episodes and buttons in a browser.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed", "static/*"]},
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
    entry_points={"console_scripts": ["page_node = vla_web.page_node:main"]},
)
