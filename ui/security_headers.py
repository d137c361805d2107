"""What the page tells the browser to refuse, and the one-time word that its own scripts carry."""

import re
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

NONCE = "whisper_merge.nonce"  # key in the ASGI scope
# In Gradio's page the opening tag stands in the markup and, escaped, in the JSON from which its script makes more tags.
SCRIPT = re.compile(rb"(<|\\u003c)script(?=[\s>]|\\u003e)")

# Why what is allowed: scripts, only those with the word of this one answer; 'unsafe-eval' because Gradio makes
# functions of its components' templates and handlers with `new Function`; inline styles because Svelte writes style
# attributes and Gradio puts <style> elements into the page; data: and blob: for icons, recordings, downloads, and the
# sound inside an evaluation's report, whose sandboxed frame inherits this policy.
POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' blob: data:; font-src 'self' data:; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self' blob:; base-uri 'self'; form-action 'self'; frame-ancestors {frames}"
)
PERMISSIONS = (
    "microphone=(self), clipboard-write=(self), fullscreen=(self), camera=(), geolocation=(), display-capture=(), "
    "usb=(), serial=(), bluetooth=(), payment=(), midi=(), hid=(), accelerometer=(), gyroscope=(), magnetometer=()"
)
SPACES = "'self' https://huggingface.co https://*.hf.space"


def new_nonce() -> str:
    return secrets.token_hex(16)


def headers(nonce: str, public: bool) -> list[tuple[bytes, bytes]]:
    """For every answer."""
    found = {
        "content-security-policy": POLICY.format(nonce=nonce, frames=SPACES if public else "'self'"),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "permissions-policy": PERMISSIONS,
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "x-permitted-cross-domain-policies": "none",
    }
    if not public:  # this header knows no list of sites; on Spaces the policy above has one
        found["x-frame-options"] = "SAMEORIGIN"
    return [(name.encode(), value.encode()) for name, value in found.items()]


class Nonces:
    """ASGI middleware within Gradio's compression: writes the answer's nonce into the script tags of an HTML page."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        nonce = scope.get(NONCE)
        if scope["type"] != "http" or not nonce:
            await self._app(scope, receive, send)
            return
        start: Message = {}
        parts: list[bytes] = []

        async def rewrite(message: Message) -> None:
            if message["type"] == "http.response.start" and _is_html(message):
                start.update(message)
            elif message["type"] == "http.response.body" and start:
                parts.append(message.get("body", b""))
                if not message.get("more_body"):
                    body = SCRIPT.sub(rb"\g<0> nonce=" + nonce.encode(), b"".join(parts))
                    kept = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
                    await send({**start, "headers": [*kept, (b"content-length", str(len(body)).encode())]})
                    await send({"type": "http.response.body", "body": body})
            else:
                await send(message)

        await self._app(scope, receive, rewrite)


def _is_html(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"]
    )
