# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_recorder"

setup(
    name=NAME,
    version="0.1.0",
    description="Episode recorder and bag-to-dataset converter.",
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
            "recorder_node = vla_recorder.capture.recorder_node:main",
            "keyboard = vla_recorder.capture.keyboard:main",
            "convert = vla_recorder.convert.command:main",
            "merge = vla_recorder.tools.merge:main",
            "split = vla_recorder.tools.split:main",
            "push = vla_recorder.convert.push:main",
            "publish = vla_recorder.convert.publish:main",
            "repair = vla_recorder.tools.repair:main",
            "to_bag = vla_recorder.tools.to_bag:main",
            "probe_encoders = vla_recorder.tools.probe_encoders:main",
            "inspect = vla_recorder.tools.inspect:main",
            "validate = vla_recorder.tools.validate:main",
            "norms = vla_recorder.tools.norms:main",
            "compare_replay = vla_recorder.tools.compare_replay:main",
        ]
    },
)
