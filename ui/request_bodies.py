"""Bodies of requests: counted while they come, and looked through for what is not the sender's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

from ui.errors import size_text
from ui.http_errors import RequestTooLarge, RequestTooSlow
from ui.security_headers import Message, Receive

IDLE_SECONDS = 30.0  # how long the body of a request may pause


def counted(receive: Receive, limit: int) -> Receive:
    """`receive` that raises once more than `limit` bytes have come, or nothing for a while."""
    left = limit

    async def counting() -> Message:
        nonlocal left
        try:
            message = await asyncio.wait_for(receive(), IDLE_SECONDS)
        except TimeoutError:
            raise RequestTooSlow() from None
        left -= len(message.get("body", b""))
        if left < 0:
            raise RequestTooLarge(limit=size_text(limit))
        return message

    return counting


async def whole(receive: Receive) -> bytes:
    """Everything that comes. Raises RequestTooSlow where the sender goes away."""
    return b"".join([part async for part in _parts(receive)])


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestTooSlow()
        yield message.get("body", b"")
        if not message.get("more_body"):
            return


def replayed(body: bytes, receive: Receive) -> Receive:
    """`receive` for an app that has still to read what was read already."""
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def objects(value: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object inside a value."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield one
            waiting.extend(one.values())
        elif isinstance(one, list):
            waiting.extend(one)
