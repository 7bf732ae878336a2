# SPDX-License-Identifier: Apache-2.0

"""Who may come in: by address, by host name, by origin, by token.

A page on the loopback interface is reachable by every web site that the same browser has open. Two checks keep them
out: the Host header must be a name of this server (against DNS rebinding, where a site's name is made to point to
127.0.0.1), and what changes anything must carry the Origin of this very page (against cross-site requests; browsers
set it and sites cannot). Beyond loopback a token is needed as well, which the browser keeps in a cookie.
Sources: OWASP cheat sheets on CSRF and on WebSocket security; RFC 6454 (origin), RFC 6265bis (SameSite).
"""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import web
from vla_core.errors import VlaError

COOKIE = "vla_web_token"
LONGEST_TOKEN = 256
_SHORTEST_TOKEN = 8
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class DoorError(VlaError):
    """The server must not be opened like this."""


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Door:
    """Decides about requests."""

    def __init__(self, host: str, token: str) -> None:
        """Check the settings.

        Args:
            host: Address that the server listens on.
            token: Secret of the users; empty: none.

        Raises:
            DoorError: The server would be open to the network without a token, or the token is too short or too long.
        """
        self._loopback = is_loopback(host)
        if not self._loopback and not token:
            raise DoorError(
                f"web_host {host!r} can be reached from other machines, and the page's buttons start and stop the robot's "
                "work. Set web_token to a secret of at least 8 characters, or leave web_host at 127.0.0.1 and come in "
                "through ssh: ssh -L 8080:127.0.0.1:8080 <this machine>"
            )
        if token and not _SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN:
            raise DoorError(
                f"web_token has {len(token)} characters; use {_SHORTEST_TOKEN} to {LONGEST_TOKEN}, for example from: "
                "openssl rand -hex 16"
            )
        self._token = token.encode()

    @property
    def locked(self) -> bool:
        """Whether a token is needed."""
        return bool(self._token)

    def right_token(self, given: str) -> bool:
        """Whether a browser's token is the right one; takes as long for every wrong one."""
        return hmac.compare_digest(given[: LONGEST_TOKEN + 1].encode(), self._token)

    def refusal(self, request: web.BaseRequest) -> str:
        """Why a request is turned away, whatever it wants; empty if it is not."""
        host = request.headers.get("Host", "")
        if self._loopback and host.rsplit(":", 1)[0] not in _LOOPBACK_NAMES and host not in _LOOPBACK_NAMES:
            return f"host {host[:80]!r} is not this machine; open the page by 127.0.0.1 or localhost"
        return ""

    def entered(self, request: web.BaseRequest) -> bool:
        """Whether the browser has shown the token, or needs none."""
        return not self._token or self.right_token(request.cookies.get(COOKIE, ""))

    def foreign(self, request: web.BaseRequest) -> str:
        """Why a request that changes something is not the page's own; empty if it is."""
        origin, host = request.headers.get("Origin", ""), request.headers.get("Host", "")
        if origin in (f"http://{host}", f"https://{host}"):
            return ""
        return f"origin {origin[:80]!r} is not this page ({host[:80]}); commands are taken from the page only"
