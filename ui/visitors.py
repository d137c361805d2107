"""Who sends a request: the address behind trusted proxies, and a name that keeps sessions and uploads apart."""

import re
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from ui.settings import Settings

COOKIE = "wm_visitor"
COOKIE_SECONDS = 400 * 86_400  # as long as browsers keep one
TOKEN = re.compile(r"[\w-]{43}", re.ASCII)
# Believed from trusted proxies only, and taken away from everybody else's requests before Gradio sees them.
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port",
             "x-forwarded-prefix", "x-forwarded-server", "x-forwarded-path", "x-real-ip", "x-original-url",
             "x-rewrite-url", "x-gradio-server")  # fmt: skip

Scope = MutableMapping[str, Any]


@dataclass(frozen=True)
class Visitor:
    """`key` is the same for all requests of one browser or one script; `known` if it is more than an address."""

    key: str
    known: bool
    user: str | None = None


class Visitors:
    """Tells visitors apart."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def trusts(self, address: str) -> bool:
        """Whether a peer is one of the stated reverse proxies."""
        try:
            peer = ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._settings.trusted_proxies if network.version == peer.version)

    def unwrap(self, scope: Scope) -> None:
        """Puts the client's own address and scheme into the scope if a trusted proxy names them."""
        peer = (scope.get("client") or ("", 0))[0]
        trusted = scope["whisper_merge.trusted_peer"] = self.trusts(peer)
        if not trusted:
            scope["headers"] = [pair for pair in scope["headers"] if pair[0].decode("latin-1").lower() not in FORWARDED]
            return
        given = Headers(raw=scope["headers"])
        # The last address that is not one of our own proxies: what stands before it anybody may have written.
        hops = [hop.strip() for line in given.getlist("x-forwarded-for") for hop in line.split(",")]
        for hop in reversed([hop for hop in hops if hop]):
            try:
                ip_address(hop)
            except ValueError:
                break
            scope["client"] = (hop, 0)
            if not self.trusts(hop):
                break
        if given.get("x-forwarded-proto", "").split(",")[0].strip() in {"http", "https"}:
            scope["scheme"] = given["x-forwarded-proto"].split(",")[0].strip()

    def of(self, scope: Scope, headers: Headers, address: str, user: str | None) -> tuple[Visitor, str | None]:
        """(visitor, cookie to set). Browsers get a cookie with the page; scripts without one are their address."""
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if TOKEN.fullmatch(token):
            return Visitor(f"{user or ''}|{token}", True, user), None
        cookie = None
        if scope["path"] == "/" and scope["method"] == "GET":
            token = secrets.token_urlsafe(32)
            cookie = cookie_line(COOKIE, token, scope["scheme"], self._settings.public, COOKIE_SECONDS)
        return Visitor(f"{user or ''}|{address}", user is not None, user), cookie


def cookie_line(name: str, value: str, scheme: str, framed: bool, seconds: int) -> str:
    """A Set-Cookie value that no script can read. `framed`: the page may live in another site's frame (Spaces)."""
    line = f"{name}={value}; Path=/; HttpOnly; Max-Age={seconds}"
    if scheme != "https":
        return f"{line}; SameSite=Lax"
    return f"{line}; Secure; " + ("SameSite=None; Partitioned" if framed else "SameSite=Lax")
