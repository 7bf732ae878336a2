# SPDX-License-Identifier: Apache-2.0

import pytest
from launch import LaunchContext
from vla_bringup.monitor_launch import MONITORS


def context(**given):
    context = LaunchContext()
    context.launch_configurations.update({"web_host": "127.0.0.1", "web_port": "8080", "web_token": "", **given})
    return context


def test_loopback_needs_no_token_and_other_addresses_do():
    for host in ("127.0.0.1", "::1", "localhost"):
        MONITORS["web"].check(context(web_host=host))
    MONITORS["web"].check(context(web_host="0.0.0.0", web_token="12345678"))
    with pytest.raises(
        RuntimeError, match=r"web_host:=0.0.0.0 lets other machines press the buttons.*web_token:=.*ssh -L"
    ):
        MONITORS["web"].check(context(web_host="0.0.0.0"))


@pytest.mark.parametrize("port", ["", "x", "-1", "65536", "80.5"])
def test_a_port_that_is_none_is_refused(port):
    with pytest.raises(RuntimeError, match=f"launch argument web_port:={port}: expected a port, 0 to 65535"):
        MONITORS["web"].check(context(web_port=port))
