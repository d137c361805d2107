"""What stands between the network and the app: headers, the origin check, and the address of a clip's sound."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from merger.errors import WhisperMergeError
from ui.workshop import Workshop

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

# Gradio's page holds inline scripts and styles, so those are allowed; nothing may be fetched from another host.
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' data: blob:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'self'; frame-ancestors {frames}"
)


class Guard:
    """ASGI middleware: refuses what another site's page sends, and tells the browser what this page may do."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], public: bool) -> None:
        self._app = app
        frames = "'self' https://huggingface.co https://*.hf.space" if public else "'self'"
        self._headers = [
            (b"content-security-policy", POLICY.format(frames=frames).encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"same-origin"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] not in {"GET", "HEAD", "OPTIONS"} and foreign(Request(scope)):
            refusal = PlainTextResponse("ORIGIN_NOT_ALLOWED: this request comes from another site.", status_code=403)
            await refusal(scope, receive, send)
            return

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        await self._app(scope, receive, with_headers)


def foreign(request: Request) -> bool:
    """Whether the request names an origin that is not this host. Scripts send no origin and are welcome."""
    origin = request.headers.get("origin")
    if not origin:
        return False
    hosts = {request.headers.get("host"), request.headers.get("x-forwarded-host")}
    return urlsplit(origin).netloc not in hosts


def routes(workshop: Workshop) -> list[Route]:
    async def clip(request: Request) -> Response:
        """The sound as the models hear it: mono, 16 kHz, 16-bit WAV; with ranges, so that a player can seek."""
        owner, clip_id = request.path_params["owner"], request.path_params["clip"]
        if not workshop.clips.signed(owner, clip_id, request.path_params["signature"]):
            return PlainTextResponse("not found", status_code=404)
        try:
            # A clip of an hour takes a while to decode, and what waits for the loop is everybody's page.
            sound = await asyncio.to_thread(workshop.clips.sound, owner, clip_id)
        except WhisperMergeError:
            return PlainTextResponse("not found", status_code=404)
        return await asyncio.to_thread(ranged, request, Wav(sound.samples, sound.sample_rate))

    async def health(request: Request) -> Response:
        if workshop.worker.alive():
            return PlainTextResponse("ok")
        return PlainTextResponse("the worker is down", status_code=503)

    return [
        Route("/studio/clips/{owner}/{clip}/{signature}.wav", clip),
        Route("/studio/health", health),
    ]


def middleware(workshop: Workshop) -> list[Middleware]:
    return [Middleware(Guard, public=workshop.settings.public)]


class Wav:
    """float32[n] in -1 … 1 as a 16-bit PCM mono WAV file, of which any stretch is written by itself."""

    def __init__(self, samples: np.ndarray, rate: int) -> None:
        self._samples = samples
        data = 2 * len(samples)
        self._head = struct.pack(
            "<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", data
        )

    def __len__(self) -> int:
        return len(self._head) + 2 * len(self._samples)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes `start` to `stop` (not included) of the file."""
        size = len(self._head)
        first, last = max(0, start - size) // 2, -(-max(0, stop - size) // 2)
        stretch = np.clip(np.rint(self._samples[first:last] * 32768.0), -32768, 32767).astype("<i2").tobytes()
        skipped = max(0, start - size) - 2 * first
        return self._head[start:stop] + stretch[skipped : skipped + max(0, stop - max(start, size))]


def ranged(request: Request, file: Wav) -> Response:
    """200 with everything, or 206 with the one range that was asked for (RFC 9110, §14)."""
    headers = {"accept-ranges": "bytes", "cache-control": "private, max-age=3600"}
    size, asked = len(file), request.headers.get("range", "")

    def everything() -> Response:
        return Response(file.read(0, size), media_type="audio/wav", headers=headers)

    if not asked.startswith("bytes=") or "," in asked:
        return everything()
    first, _, last = asked.removeprefix("bytes=").partition("-")
    try:
        start = int(first) if first else max(0, size - int(last))
        stop = min(size, int(last) + 1) if first and last else size
    except ValueError:
        return everything()
    if start >= stop:
        return Response(status_code=416, headers={"content-range": f"bytes */{size}"})
    headers["content-range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(file.read(start, stop), status_code=206, media_type="audio/wav", headers=headers)
