# SPDX-License-Identifier: Apache-2.0

import os
import random
from dataclasses import dataclass

import pytest
import rclpy
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from vla_common.params import ParameterError, declare, overrides, param, table


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    output_dir: str = param(description="Folder of the episodes.")
    rate_hz: float = param(50.0, "Control rate [Hz].", minimum=1.0, maximum=1000.0, read_only=False)
    depth: int = param(3, "History.", minimum=1)
    mode: str = param("paced", "Clock.", choices=("paced", "lockstep"))
    topics: tuple[str, ...] = param((), "Extra topics.")
    gains: tuple[float, ...] = param((1.0, 2.0), "Gains.", minimum=0.0)
    dry: bool = param(False, "Send nothing.")


@pytest.fixture
def make_node():
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    context = Context()
    rclpy.init(context=context, domain_id=random.randint(1, 200))
    nodes = []

    def make(cli=(), **values):
        cli_args = ["--ros-args", *(part for item in cli for part in ("-p", item))] if cli else None
        node = Node("n", context=context, parameter_overrides=overrides(values), cli_args=cli_args)
        nodes.append(node)
        return node

    yield make
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_defaults_and_descriptors(make_node):
    node = make_node(output_dir="/d")
    params = declare(node, Params)
    assert params == Params(output_dir="/d")
    assert node.describe_parameter("rate_hz").description == "Control rate [Hz]."
    assert node.get_parameter("topics").type_ == Parameter.Type.STRING_ARRAY
    assert node.describe_parameter("topics").read_only


def test_command_line_values(make_node):
    node = make_node(
        cli=["output_dir:=/x", "rate_hz:=30", "topics:=[]", "gains:=[1, 2]", "mode:=lockstep", "dry:=true"]
    )
    params = declare(node, Params)
    assert params == Params(output_dir="/x", rate_hz=30.0, topics=(), gains=(1.0, 2.0), mode="lockstep", dry=True)
    assert node.get_parameter("rate_hz").value == 30.0
    assert node.get_parameter("topics").type_ == Parameter.Type.STRING_ARRAY


def test_filled_list(make_node):
    assert declare(make_node(output_dir="/d", topics=("a", "b")), Params).topics == ("a", "b")


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({}, r"/n: parameter 'output_dir' must be given \(Folder of the episodes\.\)"),
        ({"output_dir": "d", "rate_hs": 3.0}, r"unknown parameter 'rate_hs'; did you mean 'rate_hz'\?"),
        ({"output_dri": "d"}, r"unknown parameter 'output_dri'; did you mean 'output_dir'\?"),
        ({"output_dir": "d", "rate_hz": 0.5}, r"'rate_hz': 0\.5 is outside \[1, 1000\]"),
        ({"output_dir": "d", "rate_hz": float("nan")}, r"'rate_hz': nan is outside"),
        ({"output_dir": "d", "depth": 0}, r"'depth': 0 is outside \[1, inf\]"),
        (
            {"output_dir": "d", "mode": "lock_step"},
            r"'lock_step' is not one of paced, lockstep; did you mean 'lockstep'\?",
        ),
        ({"output_dir": "d", "gains": (-1.0,)}, r"'gains': -1\.0 is outside"),
        ({"output_dir": 3}, r"'output_dir': expected string, got 3 \(integer\)"),
        ({"output_dir": "d", "depth": 2.5}, r"'depth': expected integer, got 2\.5 \(double\)"),
    ],
)
def test_errors(make_node, values, text):
    with pytest.raises(ParameterError, match=text):
        declare(make_node(**values), Params)


def test_runtime_change_is_checked_by_ros(make_node):
    node = make_node(output_dir="/d")
    declare(node, Params)
    assert node.set_parameters([Parameter("rate_hz", value=20.0)])[0].successful
    assert "out of range" in node.set_parameters([Parameter("rate_hz", value=0.1)])[0].reason
    assert "read-only" in node.set_parameters([Parameter("depth", value=4)])[0].reason.lower()


def test_sim_time_and_qos_overrides_are_not_ours(make_node):
    declare(make_node(cli=["output_dir:=d", "use_sim_time:=true"]), Params)


def test_table():
    text = table(Params)
    assert "| `output_dir` | string | *required* |  | Folder of the episodes. |" in text
    assert "| `rate_hz` | double | `50.0` | [1, 1000] | Control rate [Hz]. |" in text
    assert "| `topics` | string list | `[]` |  | Extra topics. |" in text
    assert "`paced`, `lockstep`" in text
