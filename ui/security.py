"""What stands between the network and the app: every request passes the guard before Gradio sees it.

In this order: who really sends it (proxies), under which name, from which site, to which of the few routes that the
page and scripts use, how often, signed in as whom, how large, and with whose files and sessions.

Longer than most files: the order of the checks is what matters, so they stand in one place.
"""

import asyncio
import json
import logging
import re
from collections import Counter, OrderedDict
from collections.abc import MutableMapping, Set
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse

from merger.bilingual import Text
from ui.answers import Answer
from ui.buckets import Buckets
from ui.errors import NotFound, size_text
from ui.http_errors import (
    BadRequest,
    HostNotAllowed,
    LoginRequired,
    OriginNotAllowed,
    RateLimited,
    RequestTooLarge,
    TooManyStreams,
    UrlNotAllowed,
    refusal,
)
from ui.login import OPEN_PATHS, Doorkeeper
from ui.request_bodies import counted, objects, replayed, whole
from ui.security_headers import NONCE, App, Receive, Send, headers, new_nonce
from ui.sessions import SECRET
from ui.settings import Settings
from ui.uploads import Uploads
from ui.visitors import Visitor, Visitors

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]

API = "/gradio_api"
# What the page and gradio_client use. All else that Gradio offers (its file and proxy routes, streams, deep links,
# monitoring, custom components, editors, run history, reload) does not exist here.
STATIC = re.compile(
    r"/(assets|static|svelte)/[\w./@-]+|/(gradio_api/)?theme\.css|/favicon\.ico|/manifest\.json|/robots\.txt"
)
READ = re.compile(
    r"/|/login/(huggingface|callback)|/config/?|/studio/[\w./-]+|/healthz|/metrics|/gradio_api/(info/?|openapi\.json|startup-events|app_id/?"
    r"|heartbeat/[\w-]{1,64}|queue/data|upload_progress|call/(v2/)?\w+/[\w-]{1,64})"
)
WRITTEN = re.compile(
    r"/login/?|/studio/[\w./-]+|/gradio_api/(component_server/?|upload/?|queue/join|call/(v2/)?\w+/?|reset/?|cancel)"
)
STREAMS = re.compile(r"/gradio_api/(heartbeat/.*|queue/data|upload_progress|call/.*)")
UPLOAD = f"{API}/upload"
SESSION = re.compile(r"[\w-]{1,64}", re.ASCII)
KEPT_BINDINGS = 50_000
ENVELOPE = 100_000  # bytes that a multipart form may add to its file


@dataclass
class Asked:
    """One request as the guard sees it."""

    scope: Scope
    headers: Headers
    path: str
    method: str
    address: str
    visitor: Visitor | None = None


class Guard:
    """ASGI middleware, the outermost one."""

    def __init__(
        self, app: App, settings: Settings, uploads: Uploads, door: Doorkeeper, functions: Set[tuple[int, str]]
    ) -> None:
        """`functions`: (component, name) of what pages may call."""
        self._app = app
        self._functions = functions
        self._settings = settings
        self._uploads = uploads
        self._door = door
        self._visitors = Visitors(settings)
        self._hosts = settings.known_hosts
        self._by_address = Buckets(settings.address_requests_per_minute, settings.address_request_burst)
        self._by_person = Buckets(settings.requests_per_minute, settings.request_burst)
        self._uploads_by_person = Buckets(settings.uploads_per_minute, settings.uploads_per_minute)
        self._streams: Counter[str] = Counter()
        self._sessions: OrderedDict[str, str] = OrderedDict()  # Gradio's session hash → key of its visitor

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # Gradio 6 needs no web socket
            await send({"type": "websocket.close", "code": 1008})
            return
        nonce = scope[NONCE] = new_nonce()
        added = headers(nonce, self._settings.public)
        asked = self._asked(scope)
        begun_call = asked.method == "POST" and asked.path.startswith(f"{API}/call/")
        answer = Answer(send, added, asked.path, partial(self._note_event, asked) if begun_call else None)
        counted = False
        try:
            self._check_place(asked)
            if not STATIC.fullmatch(asked.path):
                cookie = self._identify(asked)
                if cookie is not None:
                    added.append((b"set-cookie", cookie.encode()))
                if self._must_sign_in(asked):
                    await RedirectResponse("studio/login", 303)(scope, receive, answer.pass_on)
                    return
                counted = self._open_stream(asked)
                receive = await self._checked_body(asked, receive)
            await self._app(scope, receive, answer.hold_errors)
            if answer.held is not None:
                raise answer.held
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if answer.begun:  # it is on its way and can only be cut off
                log.warning("an answer was cut off at %s", asked.path, exc_info=error)
                raise
            await refusal(error, scope)(scope, receive, answer.pass_on)
        finally:
            if counted:
                self._streams[asked.address] -= 1
                if self._streams[asked.address] <= 0:
                    del self._streams[asked.address]

    # ---- who, under which name, from which site, where to ----------------------------------------------------------

    def _asked(self, scope: Scope) -> Asked:
        """The request with what a trusted proxy says about it, and without what anybody else says in a proxy's name."""
        self._visitors.unwrap(scope)
        client = scope.get("client") or ("", 0)
        return Asked(scope, Headers(raw=scope["headers"]), scope["path"], scope["method"], client[0])

    def _check_place(self, asked: Asked) -> None:
        host = asked.headers.get("host", "")
        if asked.scope["whisper_merge.trusted_peer"]:
            host = asked.headers.get("x-forwarded-host", host).split(",")[0].strip()
        if not _plain(host) or len(asked.headers.getlist("host")) > 1:
            raise BadRequest()
        if not self._knows(host):
            raise HostNotAllowed(host=host[:100])
        if self._foreign(asked, host):
            raise OriginNotAllowed()
        pattern = READ if asked.method in {"GET", "HEAD"} else WRITTEN if asked.method == "POST" else None
        known = pattern is not None and pattern.fullmatch(asked.path)
        static = asked.method in {"GET", "HEAD"} and STATIC.fullmatch(asked.path)
        if not (known or static) or ".." in asked.path or b"deep_link" in asked.scope["query_string"]:
            raise NotFound(what=Text("страница", "page"))

    def _knows(self, host: str) -> bool:
        """Another name is how a page of another site would reach a server that asks for no login (DNS rebinding)."""
        if not self._settings.hosts and (self._settings.public or self._door.asks):
            return True
        name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        try:
            ip_address(name)
        except ValueError:
            return name in self._hosts or name.endswith(".localhost")
        return True

    @staticmethod
    def _foreign(asked: Asked, host: str) -> bool:
        """Whether another site's page sends this. Scripts send no origin and are welcome; links from elsewhere too."""
        origin = asked.headers.get("origin")
        if origin is not None:
            return urlsplit(origin).netloc.lower() != host.lower()
        apart = asked.headers.get("sec-fetch-site", "none") in {"cross-site", "same-site"}
        return apart and (asked.method != "GET" or asked.headers.get("sec-fetch-mode") != "navigate")

    # ---- how often, as whom ------------------------------------------------------------------------------------------

    def _identify(self, asked: Asked) -> str | None:
        """Sets the visitor; returns the cookie by which a browser will be known again, if it has none."""
        self._spend(self._by_address, asked.address)
        user = self._door.user(asked.scope, asked.headers)
        asked.visitor, cookie = self._visitors.of(asked.scope, asked.headers, asked.address, user)
        if asked.visitor.known:
            self._spend(self._by_person, asked.visitor.key)
        if asked.path.rstrip("/") == UPLOAD:
            self._spend(self._uploads_by_person, asked.visitor.key)
        asked.scope["whisper_merge.visitor"] = asked.visitor
        return cookie

    @staticmethod
    def _spend(buckets: Buckets, name: str) -> None:
        wait = buckets.take(name)
        if wait:
            raise RateLimited(seconds=wait)

    def _must_sign_in(self, asked: Asked) -> bool:
        """True where a browser is to be led to the login. Raises LoginRequired for anything else that needs one."""
        if not self._door.asks or (asked.visitor and asked.visitor.user) or asked.path.rstrip("/") in OPEN_PATHS:
            return False
        page = asked.path == "/" and asked.method == "GET" and "text/html" in asked.headers.get("accept", "")
        if page and self._door.has_page:
            return True
        raise LoginRequired()

    def _open_stream(self, asked: Asked) -> bool:
        if asked.method != "GET" or not STREAMS.fullmatch(asked.path):
            return False
        session = parse_qs(asked.scope["query_string"].decode("latin-1")).get("session_hash", [""])[0]
        last = asked.path.rsplit("/", 1)[-1]
        if asked.path.startswith(f"{API}/heartbeat/"):
            session = last
        self._bind(session, asked)
        if asked.path.startswith(f"{API}/call/") and self._sessions.get(f"event {last}") != self._key(asked):
            raise NotFound(what=Text("результат", "result"))
        if self._streams[asked.address] >= self._settings.max_streams:
            raise TooManyStreams(seconds=5.0)
        self._streams[asked.address] += 1
        return True

    def _bind(self, session: Any, asked: Asked) -> None:
        """The first visitor that names one of Gradio's sessions keeps it. Raises NotFound for anybody else."""
        if session is None or session == "":
            return
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            raise BadRequest()
        if not self._hold(session, asked):
            raise NotFound(what=Text("сеанс", "session"))

    def _hold(self, name: str, asked: Asked) -> bool:
        """Whether the visitor holds the name; one that nobody holds yet becomes the visitor's."""
        holder = self._sessions.setdefault(name, self._key(asked))
        self._sessions.move_to_end(name)
        while len(self._sessions) > KEPT_BINDINGS:
            self._sessions.popitem(last=False)
        return holder == self._key(asked)

    @staticmethod
    def _key(asked: Asked) -> str:
        assert asked.visitor is not None
        return asked.visitor.key

    def _note_event(self, asked: Asked, body: bytes) -> None:
        """Whoever begins a call by its name is the only one to fetch its result."""
        try:
            event = json.loads(body).get("event_id")
        except (ValueError, AttributeError):
            return
        self._hold(f"event {event}", asked)

    # ---- how large, with whose files ---------------------------------------------------------------------------------

    async def _checked_body(self, asked: Asked, receive: Receive) -> Receive:
        """The body: counted as it comes for an upload, read and looked through for everything else."""
        settings = self._settings
        if asked.method != "POST":
            return receive
        upload = asked.path.rstrip("/") == UPLOAD
        limit = settings.largest_file + ENVELOPE if upload else settings.max_request_kb * 1000
        length = asked.headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit():
            raise BadRequest()
        if int(length) > limit:
            raise RequestTooLarge(limit=size_text(limit))
        if upload:
            return counted(receive, limit)
        body = await whole(counted(receive, limit))
        if asked.path.startswith(API):
            self._look_through(asked, body)
        return replayed(body, receive)

    def _look_through(self, asked: Asked, body: bytes) -> None:
        """Refuses what names another's session or file, a file by an address, or a function that no page calls."""
        try:
            told = json.loads(body or b"{}")
        except (ValueError, RecursionError):
            raise BadRequest() from None
        if not isinstance(told, dict):
            raise BadRequest()
        if asked.path.startswith(f"{API}/component_server") and not self._fits(told):
            raise BadRequest()
        self._bind(told.get("session_hash"), asked)
        for one in objects(told):
            if one.get("url") and ("path" in one or "meta" in one):
                raise UrlNotAllowed()
            path = one.get("path")
            if isinstance(path, str) and path:
                if "://" in path:
                    raise UrlNotAllowed()
                if not self._uploads.belongs(path, self._key(asked)):
                    raise NotFound(what=Text("загруженный файл", "uploaded file"))

    def _fits(self, told: dict[str, Any]) -> bool:
        """Whether a page's request names one of the functions that pages call, and a person."""
        data, component = told.get("data"), told.get("component_id")
        return (
            isinstance(data, dict)
            and isinstance(component, int)
            and isinstance(told.get("session_hash"), str)
            and (component, told.get("fn_name")) in self._functions
            and isinstance(data.get("owner"), str)
            and SECRET.match(data["owner"]) is not None
        )


def _plain(host: str) -> bool:
    return bool(re.fullmatch(r"[\w.:\[\]-]{1,255}", host, re.ASCII))
