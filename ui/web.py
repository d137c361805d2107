"""The app's own addresses beside Gradio's: a clip's sound, uploads, health; and the guard put around all of them."""

import asyncio
import errno
import shutil
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
from gradio.route_utils import MultiPartException, upload_fn
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from merger.bilingual import Text
from merger.errors import DiskFull, WhisperMergeError
from ui.errors import NotFound, size_text
from ui.http_errors import BadRequest, RequestTooLarge
from ui.login import Doorkeeper
from ui.security import Guard
from ui.security_headers import Nonces
from ui.uploads import Uploads
from ui.workshop import Workshop

CLIP = Text("запись", "recording")


def routes(workshop: Workshop, uploads: Uploads) -> list[Route]:
    """Everything of this app's that has an address of its own; these go before Gradio's."""
    settings = workshop.settings

    async def clip(request: Request) -> Response:
        """The sound as the models hear it: mono, 16 kHz, 16-bit WAV; with ranges, so that a player can seek."""
        owner, clip_id = request.path_params["owner"], request.path_params["clip"]
        if not workshop.clips.signed(owner, clip_id, request.path_params["signature"]):
            raise NotFound(what=CLIP)
        try:
            # A clip of an hour takes a while to decode, and what waits for the loop is everybody's page.
            sound = await asyncio.to_thread(workshop.clips.sound, owner, clip_id)
        except WhisperMergeError:
            raise NotFound(what=CLIP) from None
        return await asyncio.to_thread(ranged, request, Wav(sound.samples, sound.sample_rate))

    async def upload(request: Request) -> Response:
        return await receive_files(request, uploads, settings.largest_file)

    return [
        Route("/gradio_api/upload", upload, methods=["POST"]),
        Route("/gradio_api/upload/", upload, methods=["POST"]),
        Route("/studio/clips/{owner}/{clip}/{signature}.wav", clip),
        Route("/healthz", workshop.checkup.answer),
        Route("/studio/health", workshop.checkup.answer),
        Route("/metrics", workshop.metrics.answer),
    ]


async def receive_files(request: Request, uploads: Uploads, limit: int) -> Response:
    """Gradio's upload, into a folder that cannot be guessed, and with coded errors. `limit` in bytes of one file."""
    app: Any = request.app
    room = await asyncio.to_thread(uploads.room)
    try:
        paths, _, _ = await upload_fn(request, str(room), limit, None, force_move=True)
    except MultiPartException as error:
        too_large = "maximum allowed size" in error.message
        raise RequestTooLarge(limit=size_text(limit)) if too_large else BadRequest() from error
    except OSError as error:
        await asyncio.to_thread(shutil.rmtree, room, True)
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        free = shutil.disk_usage(uploads.folder).free
        needed = int(request.headers.get("content-length", "0"))
        raise DiskFull(needed=size_text(needed), free=size_text(free)) from error
    except HTTPException as error:
        raise BadRequest() from error
    for path in paths:
        uploads.sent(path, request.scope["whisper_merge.visitor"].key)
    app.get_blocks().upload_file_set.update(paths)
    return JSONResponse(paths)


def app_kwargs(workshop: Workshop) -> dict[str, Any]:
    """What Gradio's `launch(app_kwargs=…)` needs so that the guard stands around everything.

    The guard goes on when the server starts, before it listens: middleware that is merely handed over would stand
    inside Gradio's own, which lets other sites read answers.
    """
    uploads, door = Uploads(), Doorkeeper(workshop.settings)

    @asynccontextmanager
    async def guarded(app: Any) -> AsyncIterator[None]:
        blocks = app.get_blocks().blocks
        functions = {(number, name) for number, block in blocks.items() for name in _functions(block)}
        # Where a port is taken, Gradio starts the same app again on the next one. A second guard would name another
        # nonce than the page has, and the browser would run nothing of it.
        if not isinstance(app.middleware_stack, Guard):
            app.middleware_stack = Guard(app.middleware_stack, workshop.settings, uploads, door, functions)
        yield

    return {
        "routes": [*door.routes(), *routes(workshop, uploads)],
        "middleware": [Middleware(Nonces)],
        "lifespan": guarded,
        "docs_url": None,
        "redoc_url": None,
        "openapi_url": None,
    }


def _functions(block: Any) -> list[str]:
    """Names of the functions of a component that pages may call."""
    return [name for name, value in vars(block).items() if getattr(value, "_is_server_fn", False)]


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
