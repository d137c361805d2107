"""The door of a lab's server: users with hashed passwords, or the word of a reverse proxy.

The file holds `name:scrypt$N$r$p$salt$hash` lines, written by `python app.py --add-user NAME`. Who leaves the file, or
gets another password, is signed out at once. Sessions live in this process and end with it.
"""

import base64
import hashlib
import hmac
import html
import os
import re
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request, cookie_parser
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from merger.bilingual import Text
from ui.buckets import Lockouts
from ui.http_errors import BadRequest, LoginFailed, LoginLocked, Refusal, language
from ui.security_headers import NONCE
from ui.setting_kinds import BadSetting, fault
from ui.settings import Settings
from ui.visitors import cookie_line

COOKIE = "wm_login"
# Gradio asks its own server for the start-up events, without a login; they hold nothing.
OPEN_PATHS = {
    "/login", "/studio/login", "/studio/health", "/healthz", "/metrics", "/robots.txt", "/gradio_api/startup-events",
}  # fmt: skip
NAME = re.compile(r"[\w.@+-]{1,64}")
SHORTEST_PASSWORD = 10  # characters
LONGEST_PASSWORD = 1024
KEPT_SESSIONS = 10_000
# OWASP's recommendation for scrypt with 32 MiB; at most two at a time, so that guessing costs no memory.
N, R, P = 2**15, 8, 3
HASHING = threading.BoundedSemaphore(2)


def hash_password(password: str, salt: bytes | None = None) -> str:
    """`scrypt$N$r$p$salt$hash`, both in base64."""
    salt = salt or secrets.token_bytes(16)
    parts = [base64.b64encode(part).decode() for part in (salt, _scrypt(password, salt, N, R, P))]
    return "$".join(["scrypt", str(N), str(R), str(P), *parts])


def fits(password: str, stored: str) -> bool:
    """Whether a password is the hashed one; takes as long for a wrong one."""
    try:
        kind, n, r, p, salt, wanted = stored.split("$")
        found = _scrypt(password, base64.b64decode(salt), int(n), int(r), int(p))
        return kind == "scrypt" and hmac.compare_digest(found, base64.b64decode(wanted))
    except ValueError:
        return False


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    with HASHING:
        return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r, dklen=32)


class Users:
    """The users file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int] | None = None
        self._hashes: dict[str, str] = {}

    def hashes(self) -> dict[str, str]:
        """Name → stored hash. A file that is gone has no users: nobody gets in."""
        try:
            stat = self.path.stat()
            if self._seen != (stat.st_mtime_ns, stat.st_ino):
                lines = self.path.read_text(encoding="utf-8").splitlines()
                pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
                self._hashes = {name.strip(): rest.strip() for name, _, rest in pairs if rest.startswith("scrypt$")}
                self._seen = (stat.st_mtime_ns, stat.st_ino)
        except OSError:
            self._hashes, self._seen = {}, None
        return self._hashes

    def put(self, name: str, password: str | None) -> None:
        """Adds a user, sets a password anew, or with None removes the user. Raises BadSetting."""
        if not NAME.fullmatch(name):
            raise _bad("Имя: до 64 букв, цифр и знаков . @ + - _.", "A name is up to 64 letters, digits and . @ + - _.")
        if password is not None and not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise _bad(
                f"Пароль короче {SHORTEST_PASSWORD} знаков или длиннее {LONGEST_PASSWORD}.",
                f"The password is shorter than {SHORTEST_PASSWORD} characters or longer than {LONGEST_PASSWORD}.",
            )
        kept = {**self.hashes(), name: hash_password(password)} if password is not None else dict(self.hashes())
        if password is None and kept.pop(name, None) is None:
            raise _bad(f"Пользователя «{name}» нет.", f"There is no user “{name}”.")
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write("".join(f"{user}:{stored}\n" for user, stored in sorted(kept.items())))
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)


def _bad(ru: str, en: str) -> BadSetting:
    return BadSetting(faults=[fault(ru, en, "python app.py --add-user ИМЯ", "python app.py --add-user NAME")])


@dataclass(frozen=True)
class _Session:
    user: str
    stored: str  # the hash at the time of the login: another one ends the session
    until: float


class Doorkeeper:
    """Knows who is signed in, and lets people sign in."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._users = Users(settings.login_file) if settings.login_file else None
        if self._users is not None and not self._users.hashes():
            raise _bad(
                "В файле WHISPER_MERGE_LOGIN_FILE нет ни одного пользователя.",
                "The file of WHISPER_MERGE_LOGIN_FILE holds no user.",
            )
        self._sessions: OrderedDict[str, _Session] = OrderedDict()
        self._lock = threading.Lock()
        self._lockouts = Lockouts(settings.login_attempts, settings.login_lock_minutes * 60, clock)
        self._nobody = hash_password(secrets.token_hex(16)) if self._users else ""

    @property
    def asks(self) -> bool:
        """Whether anybody has to sign in here."""
        return self.has_page or self._settings.login_header is not None

    @property
    def has_page(self) -> bool:
        return self._users is not None

    def user(self, scope: Mapping[str, Any], headers: Headers) -> str | None:
        """Who sends the request: by the proxy's header, if a trusted proxy sent it, or by the login cookie."""
        if self._settings.login_header is not None:
            named = headers.getlist(self._settings.login_header) if scope.get("whisper_merge.trusted_peer") else []
            return named[0] if len(named) == 1 and NAME.fullmatch(named[0]) else None
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if self._users is None or not token:
            return None
        key = _digest(token)
        with self._lock:
            session = self._sessions.get(key)
            if session is None:
                return None
            if session.until < self._clock() or self._users.hashes().get(session.user) != session.stored:
                del self._sessions[key]
                return None
            return session.user

    def sign_in(self, name: str, password: str, address: str) -> str:
        """A new session's token. Raises LoginFailed, LoginLocked."""
        assert self._users is not None
        # Per name and address, so that nobody locks a colleague out; the others against many names or addresses.
        watched = {f"{name}|{address}": 1, f"address|{address}": 4, f"name|{name}": 20}
        left = max(self._lockouts.left(one, times) for one, times in watched.items())
        if left:
            raise LoginLocked(seconds=left)
        stored = self._users.hashes().get(name)
        if not fits(password[:LONGEST_PASSWORD], stored or self._nobody) or stored is None:
            for one in watched:
                self._lockouts.failed(one)
            raise LoginFailed()
        for one in watched:
            self._lockouts.succeeded(one)
        token = secrets.token_urlsafe(32)
        with self._lock:
            until = self._clock() + self._settings.login_hours * 3600
            self._sessions[_digest(token)] = _Session(name, stored, until)
            while len(self._sessions) > KEPT_SESSIONS:
                self._sessions.popitem(last=False)
        return token

    def sign_out(self, headers: Headers) -> None:
        token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        with self._lock:
            self._sessions.pop(_digest(token), None)

    # ---- pages -------------------------------------------------------------------------------------------------------

    def routes(self) -> list[Route]:
        """The login page, signing out, and the address at which `gradio_client` signs in (`auth=(name, password)`)."""
        if not self.has_page:
            return []
        return [
            Route("/studio/login", self._show, methods=["GET"]),
            Route("/studio/login", self._enter, methods=["POST"]),
            Route("/studio/logout", self._leave, methods=["POST"]),
            Route("/login", self._script, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return self._page(request, None)

    async def _enter(self, request: Request) -> Response:
        try:
            token = await self._token(request)
        except Refusal as error:
            return self._page(request, error)
        return self._with_cookie(RedirectResponse("../", 303), token, request)

    async def _script(self, request: Request) -> Response:
        return self._with_cookie(JSONResponse({"success": True}), await self._token(request), request)

    async def _leave(self, request: Request) -> Response:
        self.sign_out(request.headers)
        answer = RedirectResponse("login", 303)
        answer.delete_cookie(COOKIE, httponly=True)
        return answer

    async def _token(self, request: Request) -> str:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
        name, password = (form.get(key, [""])[0] for key in ("username", "password"))
        if not name or not password:
            raise BadRequest() if not form else LoginFailed()
        address = request.client.host if request.client else ""
        return await to_thread.run_sync(partial(self.sign_in, name.strip()[:64], password, address))

    def _with_cookie(self, answer: Response, token: str, request: Request) -> Response:
        seconds = round(self._settings.login_hours * 3600)
        answer.headers.append("set-cookie", cookie_line(COOKIE, token, request.scope["scheme"], False, seconds))
        answer.headers["cache-control"] = "no-store"
        return answer

    def _page(self, request: Request, error: Refusal | None) -> Response:
        asked = request.query_params.get("lang", "")
        lang = asked if asked in {"ru", "en"} else language(request.headers.get("accept-language", ""))
        words = {key: html.escape(text.get(lang)) for key, text in WORDS.items()}
        told = f'<p role="alert">{html.escape(f"{error.sentence(lang)} {error.remedy(lang)}")}</p>' if error else ""
        other = "en" if lang == "ru" else "ru"
        body = PAGE.format(
            lang=lang, told=told, other=other, other_name={"en": "English", "ru": "Русский"}[other], **words,
            style=f"<style nonce={request.scope.get(NONCE, '')}>{STYLE}</style>",
        )  # fmt: skip
        headers = {"cache-control": "no-store"}
        if error is not None and error.retry_after is not None:
            headers["retry-after"] = str(max(1, round(error.retry_after)))
        return HTMLResponse(body, error.status if error else 200, headers)


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


WORDS = {
    "title": Text("Вход", "Sign in"),
    "name": Text("Имя", "Name"),
    "password": Text("Пароль", "Password"),
    "enter": Text("Войти", "Sign in"),
    "help": Text("Имя и пароль выдаёт администратор сервера.", "The administrator gives out names and passwords."),
}
STYLE = (
    ":root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}"
    "body{display:grid;place-items:center;min-height:90vh}"
    "form{display:grid;gap:.8rem;width:min(20rem,90vw)}label{display:grid;gap:.2rem}"
    "input,button{font:inherit;padding:.6rem;min-height:44px;border-radius:.4rem;border:1px solid GrayText}"
    "button{background:#6d3fc0;color:#fff;border:0}p{margin:0}[role=alert]{color:#b3261e}"
    "@media(prefers-color-scheme:dark){[role=alert]{color:#ffb4ab}}"
)
PAGE = """<!doctype html>
<html lang="{lang}"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>whisper-merge · {title}</title>{style}</head><body><main><form method="post">
<h1>whisper-merge</h1>{told}
<label>{name}<input name="username" autocomplete="username" required autofocus maxlength="64"></label>
<label>{password}<input name="password" type="password" autocomplete="current-password" required></label>
<button>{enter}</button><p>{help}</p><p><a href="?lang={other}" lang="{other}">{other_name}</a></p>
</form></main></body></html>
"""
