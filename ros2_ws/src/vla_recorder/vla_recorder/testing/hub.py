# SPDX-License-Identifier: Apache-2.0

"""A small Hugging Face Hub on this machine: the endpoints that an upload of a dataset uses. For tests."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKEN = "hf_test"
LFS_ABOVE = 4096


@dataclass
class Hub:
    """What the server holds.

    Attributes:
        files: Path -> content of the one repository.
        created: Bodies of the requests that made a repository.
        tags: Names of tags.
        commits: Titles of commits.
        objects: SHA-256 -> content uploaded by the LFS protocol.
        truncate: Path whose content loses its last byte, to test that this is noticed.
        url: Address of the server.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    created: list[dict[str, Any]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)
    truncate: str = ""
    url: str = ""

    def answer(self, method: str, path: str, body: bytes) -> Any:
        """Return the answer to a request, or None if there is no such address."""
        for wanted, pattern, function in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match and method == wanted:
                return getattr(self, function)(body, *match.groups())
        return None

    def _create(self, body: bytes) -> Any:
        request = json.loads(body)
        self.created.append(request)
        return {"url": f"{self.url}/datasets/{request.get('organization') or 'user'}/{request['name']}"}

    def _validate(self, body: bytes) -> Any:
        front = json.loads(body)["content"].split("---")[1]
        valid = isinstance(yaml.safe_load(front), dict)
        return {"errors": [] if valid else [{"message": "no mapping"}], "warnings": []}

    def _preupload(self, body: bytes) -> Any:
        return {
            "files": [
                {
                    "path": item["path"],
                    "uploadMode": "lfs" if item["size"] > LFS_ABOVE else "regular",
                    "shouldIgnore": False,
                    "oid": None,
                }
                for item in json.loads(body)["files"]
            ]
        }

    def _batch(self, body: bytes) -> Any:
        objects = []
        for item in json.loads(body)["objects"]:
            upload = {"href": f"{self.url}/lfs/{item['oid']}", "header": {}}
            objects.append({**item, "actions": {"upload": upload}})
        return {"transfer": "basic", "objects": objects}

    def _upload(self, body: bytes, oid: str) -> Any:
        if hashlib.sha256(body).hexdigest() != oid:
            return None
        self.objects[oid] = body
        return {}

    def _commit(self, body: bytes) -> Any:
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header":
                self.commits.append(value["summary"])
            elif item["key"] == "file":
                self.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                self.files[value["path"]] = self.objects[value["oid"]]
            elif item["key"] in ("deletedFile", "deletedFolder"):
                self.files = {name: data for name, data in self.files.items() if not fnmatch(name, value["path"])}
        if self.truncate in self.files:
            self.files[self.truncate] = self.files[self.truncate][:-1]
        return {"commitUrl": f"{self.url}/datasets/user/name/commit/{'0' * 40}", "commitOid": "0" * 40, "success": True}

    def _info(self, _: bytes) -> Any:
        return {
            "id": "user/name",
            "sha": "0" * 40,
            "siblings": [{"rfilename": name} for name in self.files],
            "private": False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [],
        }

    def _tree(self, _: bytes) -> Any:
        return [
            {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
            for name, data in self.files.items()
        ]

    def _refs(self, _: bytes) -> Any:
        tags = [{"name": name, "ref": f"refs/tags/{name}", "targetCommit": "0" * 40} for name in self.tags]
        return {"branches": [], "converts": [], "tags": tags}

    def _add_tag(self, body: bytes) -> Any:
        self.tags.append(json.loads(body)["tag"])
        return {}

    def _delete_tag(self, _: bytes, tag: str) -> Any:
        self.tags.remove(tag)
        return {}


_REPO = r"/api/datasets/[^/]+/[^/]+"
_ROUTES = (
    ("POST", r"/api/repos/create", "_create"),
    ("POST", r"/api/validate-yaml", "_validate"),
    ("POST", _REPO + r"/preupload/main", "_preupload"),
    ("POST", _REPO + r"/commit/main", "_commit"),
    ("GET", _REPO + r"(?:/revision/main)?", "_info"),
    ("GET", _REPO + r"/tree/main", "_tree"),
    ("GET", _REPO + r"/refs", "_refs"),
    ("POST", _REPO + r"/tag/main", "_add_tag"),
    ("DELETE", _REPO + r"/tag/(.+)", "_delete_tag"),
    ("POST", r"/datasets/[^/]+/[^/]+\.git/info/lfs/objects/batch", "_batch"),
    ("PUT", r"/lfs/([0-9a-f]+)", "_upload"),
)


@contextmanager
def serve_hub() -> Iterator[Hub]:
    """Run the server on a free port of this machine."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self._body()
            path = unquote(urlsplit(self.path).path)
            authorised = self.headers.get("Authorization") == f"Bearer {TOKEN}" or path.startswith("/lfs/")
            answer = hub.answer(self.command, path, body) if authorised else None
            status = 200 if answer is not None else 404 if authorised else 401
            content = json.dumps(answer if answer is not None else {"error": f"{self.command} {path}"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
