# SPDX-License-Identifier: Apache-2.0

"""The server's plain HTTP side: models, health, metrics, and who may come in."""

import hmac
import http
import json

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from vla_policy.serving.door import Context
from vla_policy.serving.metrics import CONTENT_TYPE

API = "/api/v1"
SESSION = f"{API}/session"
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
# Positronic's clients say Bearer, openpi's Api-Key.
_SCHEMES = ("bearer", "api-key")
ROUTES = f"GET {API}/models, /healthz, /metrics; POST {API}/keepalive; WebSocket {SESSION}[/<checkpoint>] (Positronic) and / (openpi)"


class HttpRoutes:
    """Answers requests that are no WebSocket upgrade, and refuses upgrades without the token."""

    def __init__(self, context: Context, *, token: str, max_sessions: int) -> None:
        """Remember what is needed.

        Args:
            context: Of the server.
            token: What clients must show; empty: nothing.
            max_sessions: Upgrades beyond so many open connections are refused with 503.
        """
        self._context = context
        self._token = token.encode()
        self._max_sessions = max_sessions

    def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return the response, or None where the connection is to become a WebSocket."""
        path = request.path.partition("?")[0]
        if path == "/healthz" and request.method == "GET":
            return _response(http.HTTPStatus.OK, "OK\n")
        if self._token and not self._knows_token(request.headers):
            self._context.metrics.errors.labels("token").inc()
            refused = _response(http.HTTPStatus.UNAUTHORIZED, "a token is needed: Authorization: Bearer <token>\n")
            refused.headers["WWW-Authenticate"] = "Bearer"
            return refused
        if request.method == "POST" and path == f"{API}/keepalive":
            return _response(http.HTTPStatus.OK, json.dumps({"alive_seconds": None}), _JSON)
        if request.method != "GET":
            return _response(
                http.HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} {path} is not served; there is {ROUTES}\n"
            )
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return self._upgrade(connection, path)
        return self._get(path)

    def _get(self, path: str) -> Response:
        if path == f"{API}/models":
            return _response(http.HTTPStatus.OK, json.dumps({"models": self._context.folder.ids()}), _JSON)
        if path == "/metrics":
            return _response(http.HTTPStatus.OK, self._context.metrics.text().decode(), CONTENT_TYPE)
        return _response(http.HTTPStatus.NOT_FOUND, f"{path} is not served; there is {ROUTES}\n")

    def _upgrade(self, connection: ServerConnection, path: str) -> Response | None:
        if path.startswith(f"{API}/") and path != SESSION and not path.startswith(f"{SESSION}/"):
            return _response(http.HTTPStatus.NOT_FOUND, f"{path} is not served; there is {ROUTES}\n")
        if len(connection.server.connections) >= self._max_sessions:
            return _response(http.HTTPStatus.SERVICE_UNAVAILABLE, f"all {self._max_sessions} sessions are taken\n")
        return None

    def _knows_token(self, headers: Headers) -> bool:
        scheme, _, shown = headers.get("Authorization", "").partition(" ")
        # Constant time, whatever was shown.
        same = hmac.compare_digest(shown.strip().encode(), self._token)
        return scheme.lower() in _SCHEMES and same


def _response(status: http.HTTPStatus, body: str, content_type: str = _TEXT) -> Response:
    data = body.encode()
    headers = Headers({"Content-Type": content_type, "Content-Length": str(len(data)), "Connection": "close"})
    return Response(status.value, status.phrase, headers, data)
