"""An answer on its way out: the guard's headers go with it, and what Gradio words itself becomes a coded error."""

from collections.abc import Callable

from merger.bilingual import Text
from merger.errors import InternalError, WhisperMergeError
from ui.errors import NotFound
from ui.http_errors import BadRequest
from ui.security_headers import Message, Send

Headers = list[tuple[bytes, bytes]]
SPEAK_FOR_THEMSELVES = {("/studio/health", 503), ("/healthz", 503), ("/studio/login", 401), ("/studio/login", 429)}
MOST_WATCHED = 2_000  # bytes of an answer that `watch` may see


def _coded(status: int) -> WhisperMergeError | None:
    """What is said instead of an error that Gradio or FastAPI words itself; None for what is none."""
    if status in {400, 405, 415, 422}:
        return BadRequest()
    if status in {401, 403, 404}:
        return NotFound(what=Text("страница", "page"))
    return InternalError() if status >= 500 else None


class Answer:
    """One answer on its way out, with the guard's headers; an uncoded error of Gradio's is replaced by a coded one."""

    def __init__(
        self, send: Send, added: Headers, path: str, watch: Callable[[bytes], None] | None = None
    ) -> None:
        """`watch` gets the body of a short answer that is no error, before it is sent."""
        self._watch = watch
        self._send = send
        self._added = added
        self._path = path
        self.begun = False
        self.held: WhisperMergeError | None = None

    async def pass_on(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message["headers"] = [*_own(message.get("headers", []), self._added), *self._added]
        await self._send(message)

    async def hold_errors(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            own = (self._path, message["status"]) in SPEAK_FOR_THEMSELVES
            self.held = None if own else _coded(message["status"])
        if message["type"] == "http.response.body" and self.held is None and self._watch is not None:
            if len(message.get("body", b"")) <= MOST_WATCHED:
                self._watch(message.get("body", b""))
            self._watch = None
        if self.held is None:
            await self.pass_on(message)


def _own(given: Headers, added: Headers) -> Headers:
    """An answer's headers without those that the guard sets, and without Gradio's word to other origins."""
    names = {name for name, _ in added} - {b"set-cookie"}
    return [
        (name, value) for name, value in given
        if name.lower() not in names and not name.lower().startswith(b"access-control-")
    ]  # fmt: skip
