"""Refusals that happen before the app is asked, and the shape in which HTTP tells any coded error."""

import html
import json
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, Response

from merger.bilingual import Text
from merger.errors import DiskFull, WhisperMergeError
from merger.failures import coded
from ui.errors import NotFound, report

log = logging.getLogger(__name__)

Scope = Mapping[str, Any]


class Refusal(WhisperMergeError):
    """A request that is not let through. `status` is its HTTP status, `retry_after` seconds for 429."""

    status: ClassVar[int] = 400

    @property
    def retry_after(self) -> float | None:
        return self.facts.get("seconds")


class BadRequest(Refusal):
    """Something that the app never sends."""

    code = "BAD_REQUEST"
    sentence_text = Text("Запрос не понят.", "The request is not understood.")
    remedy_text = Text(
        "Откройте страницу заново; для сценариев есть docs/interface.md.",
        "Open the page anew; for scripts there is docs/interface.md.",
    )


class RequestTooLarge(Refusal):
    """More bytes than accepted. Facts: `limit` (a readable size as Text)."""

    code = "REQUEST_TOO_LARGE"
    status = 413
    sentence_text = Text("Запрос больше, чем можно здесь: {limit}.", "The request is above the limit of {limit}.")
    remedy_text = Text("Возьмите файл поменьше или вырежьте отрывок.", "Take a smaller file, or cut out a part.")


class RequestTooSlow(Refusal):
    """Bytes that do not come."""

    code = "REQUEST_TOO_SLOW"
    status = 408
    sentence_text = Text("Данные перестали приходить.", "The data have ceased to come.")
    remedy_text = Text("Проверьте связь и отправьте ещё раз.", "Check the connection and send again.")


class OriginNotAllowed(Refusal):
    """Another site's page has sent this."""

    code = "ORIGIN_NOT_ALLOWED"
    status = 403
    sentence_text = Text("Запрос пришёл со страницы другого сайта.", "This request comes from another site's page.")
    remedy_text = Text("Откройте страницу приложения сами.", "Open the app's own page.")


class HostNotAllowed(Refusal):
    """A name under which this server does not know itself. Facts: `host`."""

    code = "HOST_NOT_ALLOWED"
    status = 421
    sentence_text = Text(
        "Сервер не знает себя под именем «{host}».", "The server does not know itself by the name “{host}”."
    )
    remedy_text = Text(
        "Откройте страницу по адресу цифрами или впишите имя в WHISPER_MERGE_HOSTS.",
        "Open the page by its address in digits, or add the name to WHISPER_MERGE_HOSTS.",
    )


class RateLimited(Refusal):
    """Too many requests. Facts: `seconds` until the next is taken."""

    code = "RATE_LIMITED"
    status = 429
    sentence_text = Text("Слишком много запросов подряд.", "Too many requests in a row.")
    remedy_text = Text("Подождите {told} с.", "Wait for {told} s.")

    def __init__(self, **facts: Any) -> None:
        super().__init__(**{**facts, "told": max(1, round(facts["seconds"]))})


class TooManyStreams(RateLimited):
    """Too many open connections from one address."""

    code = "TOO_MANY_STREAMS"
    sentence_text = Text("С этого адреса открыто слишком много страниц.", "Too many pages are open from this address.")
    remedy_text = Text("Закройте лишние и обновите страницу.", "Close some and reload the page.")


class UrlNotAllowed(Refusal):
    """A file named by an address: fetching it would let a stranger use this server's network."""

    code = "URL_NOT_ALLOWED"
    sentence_text = Text("Файлы по ссылке не принимаются.", "Files are not taken from an address.")
    remedy_text = Text("Скачайте файл и загрузите его.", "Download the file and upload it.")


class LoginRequired(Refusal):
    """Nobody is signed in."""

    code = "LOGIN_REQUIRED"
    status = 401
    sentence_text = Text("Нужно войти.", "A login is needed.")
    remedy_text = Text(
        "Откройте страницу и войдите; сценарию передайте auth=(имя, пароль).",
        "Open the page and sign in; give a script auth=(name, password).",
    )


class LoginFailed(Refusal):
    """Name or password do not fit; which of the two is not said."""

    code = "LOGIN_FAILED"
    status = 401
    sentence_text = Text("Имя или пароль не подходят.", "The name or the password is wrong.")
    remedy_text = Text(
        "Проверьте раскладку и Caps Lock; новый пароль задаёт администратор.",
        "Check the keyboard layout and Caps Lock; the administrator can set a new password.",
    )


class LoginLocked(RateLimited):
    """Too many wrong passwords. Facts: `seconds`."""

    code = "LOGIN_LOCKED"
    sentence_text = Text("Слишком много неверных паролей подряд.", "Too many wrong passwords in a row.")


STATUS = {NotFound: 404, DiskFull: 507}
# Gradio's script throws away every answer that is no success. What the app's own page may come upon while it asks for
# something is therefore answered as a success, with the error inside.
ASKED_BY_PAGES = "/gradio_api/component_server"
TOLD_TO_PAGES = (RateLimited, LoginRequired, RequestTooLarge)


def refusal(error: BaseException, scope: Scope) -> Response:
    """The error as an HTTP answer: JSON, or a small page for a browser that wants to show one.

    JSON holds `error`, `detail` in one line, and `retry_after` in seconds or null.
    """
    known = coded(error)
    status = known.status if isinstance(known, Refusal) else STATUS.get(type(known), 500)
    told = report(error) if status >= 500 else report(known, logging.INFO)
    seconds = known.retry_after if isinstance(known, Refusal) else None
    headers = {"cache-control": "no-store"}
    if seconds is not None:
        headers["retry-after"] = str(max(1, round(seconds)))
    asked = Headers(raw=list(scope.get("headers", [])))
    if scope.get("method") == "GET" and "text/html" in asked.get("accept", ""):
        return HTMLResponse(_page(told, asked.get("accept-language", "")), status, headers)
    line = f"{told['code']}: {told['sentence']['en']} {told['remedy']['en']} ({told['id']})"
    body = json.dumps({"error": told, "detail": line, "retry_after": seconds}, ensure_ascii=False)
    if isinstance(known, TOLD_TO_PAGES) and str(scope.get("path", "")).rstrip("/") == ASKED_BY_PAGES:
        status = 200
    return Response(body, status, headers, media_type="application/json")


def language(accepted: str) -> str:
    """`ru` or `en` from an Accept-Language header; Russian is this page's first language."""
    for part in accepted.split(","):
        tag = part.split(";")[0].strip().lower()[:2]
        if tag in {"ru", "en"}:
            return tag
    return "ru"


def _page(told: dict[str, Any], accepted: str) -> str:
    lang = language(accepted)
    words = [html.escape(told[key][lang]) for key in ("sentence", "remedy")]
    return (
        f'<!doctype html><html lang="{lang}"><meta charset="utf-8"><title>{told["code"]}</title>'
        f"<h1>{words[0]}</h1><p>{words[1]}</p><p><code>{told['code']} · {told['id']}</code></p></html>"
    )
