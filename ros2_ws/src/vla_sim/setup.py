# SPDX-License-Identifier: Apache-2.0

from setuptools import find_packages, setup

NAME = "vla_sim"

setup(
    name=NAME,
    version="0.1.0",
    description="Simulated robot cells with the interfaces of the real drivers, and a scripted expert.",
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
            "cell_node = vla_sim.sim_node:main",
            "joy_player = vla_sim.joy_player:main",
            "make_skills = vla_sim.make_skills:main",
            "operator_node = vla_sim.operator_node:main",
            "skill_node = vla_sim.skill_node:main",
            "trial_node = vla_sim.trial_node:main",
        ]
    },
)
