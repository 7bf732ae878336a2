# SPDX-License-Identifier: Apache-2.0

"""What clients of a policy server say: messages of each kind, sessions, plain requests."""

import contextlib
import http.client

import numpy as np
from vla_policy.serving.packing import pack, unpack

SESSION = "/api/v1/session"
STATE = [0.1, 0.2, 0.5]


def exact(**changed):
    message = {
        "observation.state": np.array(STATE, np.float32),
        "observation.images.front": np.zeros((32, 32, 3), np.uint8),
        "task": "lift",
    }
    return message | changed


def openpi(**changed):
    message = {
        "observation/image": np.zeros((224, 224, 3), np.uint8),
        "observation/state": np.array(STATE, np.float32),
        "prompt": "lift",
    }
    return {key: value for key, value in (message | changed).items() if value is not None}


def positronic(**changed):
    message = {
        "robot_state.q": np.array(STATE[:2], np.float32),
        "grip": 0.5,
        "image.front": np.zeros((32, 32, 3), np.uint8),
        "task": "lift",
    }
    return message | changed


def handshake(connection):
    """Statuses until ready; returns them and the metadata."""
    statuses = []
    while True:
        found = unpack(connection.recv(timeout=20))
        if "meta" in found:
            assert found["status"] == "ready"
            return statuses, found["meta"]
        if found["status"] == "error":
            return statuses, found
        statuses.append(found["status"])


@contextlib.contextmanager
def session(server, path=SESSION, **options):
    with server.connect(path, **options) as connection:
        handshake(connection)
        yield connection


def ask(connection, message):
    connection.send(message if isinstance(message, bytes | str) else pack(message))
    return unpack(connection.recv(timeout=20))


def get(server, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, headers=headers)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body, response.headers
