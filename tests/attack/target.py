"""A running app as an attacker sees it: raw requests, and people with a browser's cookies."""

from __future__ import annotations

import contextlib
import http.client
import json
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

EVIL = "https://evil.example"
SECONDS = 60.0
MOST = 400_000  # bytes of an answer that are looked at


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str:
        return ", ".join(value for key, value in self.headers if key.lower() == name)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def code(self) -> str:
        """The error's code, "" if there is none."""
        try:
            told = json.loads(self.body)
        except ValueError:
            return ""
        error = told.get("error") if isinstance(told, dict) else None
        return error.get("code", "") if isinstance(error, dict) else ""


@dataclass
class Target:
    """The address, and what a test has planted behind it: names of models, limits, a login."""

    address: str
    planted: Mapping[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = None

    @property
    def host(self) -> str:
        return urlsplit(self.address).netloc

    def ask(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        source: str | None = None,
        seconds: float = SECONDS,
    ) -> Reply:
        """One request, its path sent as it is. A broken connection is a reply of status 0."""
        parts = urlsplit(self.address)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        origin = (source, 0) if source else None
        connection = kind(parts.hostname or "", parts.port, timeout=seconds, source_address=origin)
        given = {"Host": parts.netloc, **(headers or {})}
        data = body.encode() if isinstance(body, str) else body
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in given.items():
                connection.putheader(name, value)
            if data is not None and not {"Content-Length", "Transfer-Encoding"} & set(given):
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders()
            if data is not None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the server has said no already
                    connection.send(data)
            answer = connection.getresponse()
            return Reply(answer.status, answer.getheaders(), _body(answer))
        except (OSError, http.client.HTTPException) as error:
            return Reply(0, [], repr(error).encode())
        finally:
            connection.close()

    def raw(self, data: bytes, seconds: float = 5.0) -> bytes:
        """Bytes as they are, for what no client library would send."""
        parts = urlsplit(self.address)
        with socket.create_connection((parts.hostname or "", parts.port or 80), seconds) as wire:
            wire.sendall(data)
            found = b""
            try:
                while part := wire.recv(65_536):
                    found += part
                    if len(found) > MOST:
                        break
            except OSError:
                pass
        return found

    def person(self, name: str = "person", source: str | None = None) -> Person:
        return Person(self, name, source)


def _body(answer: http.client.HTTPResponse) -> bytes:
    """What comes until the end, or until nothing comes any more (streams)."""
    parts, size = [], 0
    try:
        while size < MOST and (part := answer.read1(65_536)):
            parts.append(part)
            size += len(part)
            if answer.getheader("content-type", "").startswith("text/event-stream") and b"\n\n" in part:
                break
    except OSError:
        pass
    return b"".join(parts)


class Person:
    """A browser with cookies of its own, its owner secret and its Gradio session."""

    def __init__(self, target: Target, name: str, source: str | None) -> None:
        self.target = target
        self.name = name
        self.source = source
        self.cookies: dict[str, str] = {}
        self.owner = secrets.token_hex(24)
        self.session = secrets.token_hex(8)
        if target.login:
            self._sign_in(*target.login)
        self.page = self.ask("GET", "/", {"Accept": "text/html"})
        self.island = self._island() if self.page.status == 200 else 0

    def ask(self, method: str, path: str, headers: Mapping[str, str] | None = None, body: Any = None) -> Reply:
        given = dict(headers or {})
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            given.setdefault("Content-Type", "application/json")
        reply = self.target.ask(method, path, given, body, self.source)
        for name, value in reply.headers:
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key.strip()] = rest.split(";")[0]
        return reply

    def _sign_in(self, name: str, password: str) -> None:
        body = f"username={name}&password={password}"
        self.ask("POST", "/login", {"Content-Type": "application/x-www-form-urlencoded"}, body)

    def _island(self) -> int:
        config = json.loads(self.ask("GET", "/config").body)
        found = [one["id"] for one in config["components"] if "act" in str(one.get("props", {}).get("server_fns"))]
        return found[0] if found else 0

    def act(self, action: str, payload: dict[str, Any] | None = None, **changes: Any) -> Reply:
        body = {
            "data": {"owner": self.owner, "action": action, "payload": payload or {}, "known": {}},
            "component_id": self.island, "session_hash": self.session, "fn_name": "act", **changes,
        }  # fmt: skip
        return self.ask("POST", "/gradio_api/component_server/", body=body)

    def slices(self) -> dict[str, Any]:
        """What this person has on the page."""
        body = {
            "data": {"owner": self.owner, "known": {}}, "component_id": self.island,
            "session_hash": self.session, "fn_name": "watch",
        }  # fmt: skip
        told = json.loads(self.ask("POST", "/gradio_api/component_server/", body=body).body)
        return {name: one["value"] for name, one in told["slices"].items()}

    def upload(self, data: bytes, name: str = "clip.wav", content_type: str = "audio/wav") -> Reply:
        mark = secrets.token_hex(12)
        head = (
            f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n'
            f"Content-Type: {content_type}\r\n\r\n"
        )
        body = head.encode() + data + f"\r\n--{mark}--\r\n".encode()
        return self.ask("POST", "/gradio_api/upload", {"Content-Type": f"multipart/form-data; boundary={mark}"}, body)

    def path_of(self, data: bytes, name: str = "clip.wav") -> str:
        return str(json.loads(self.upload(data, name).body)[0])

    def call(self, endpoint: str, data: list[Any]) -> str:
        """The answer of an endpoint as the stream tells it, or the refusal."""
        begun = self.ask("POST", f"/gradio_api/call/{endpoint}", body={"data": data, "session_hash": self.session})
        if begun.status != 200:
            return begun.text
        event = json.loads(begun.body)["event_id"]
        return self.ask("GET", f"/gradio_api/call/{endpoint}/{event}").text
