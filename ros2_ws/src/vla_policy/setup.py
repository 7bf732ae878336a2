# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_policy"

setup(
    name=NAME,
    version="0.1.0",
    description="Policy node: observations in, action chunks out as trajectory goals; training launcher.",
    packages=find_packages(exclude=["test"]),
    package_data={NAME: ["py.typed", "training/config/*.yaml"]},
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
            "policy_node = vla_policy.node.policy_node:main",
            "report = vla_policy.tools.report:main",
            "train = vla_policy.training.train:main",
            "make_small_vlm = vla_policy.training.small_vlm:main",
            "serve = vla_policy.serving.server:main",
            "rollouts = vla_policy.tools.rollouts:main",
            "smoke = vla_policy.tools.smoke:main",
            "mcp = vla_policy.mcp_tool.server:main",
            "evaluate = vla_policy.evaluation.evaluate:main",
            "stop_signal = vla_policy.evaluation.stop_signal:main",
            "compare = vla_policy.evaluation.compare:main",
            "export_registration = vla_policy.tools.export_registration:main",
            "augment = vla_policy.tools.augment:main",
            "check_env = vla_policy.tools.check_env:main",
            "list_codecs = vla_policy.tools.list_codecs:main",
        ],
        "vla_policy.policies": [
            "lerobot = vla_policy.policies.lerobot_runner:load",
            "scripted = vla_policy.policies.scripted:load",
            "remote = vla_policy.serving.remote:load",
        ],
    },
)
