"""Whether the server works: its threads, a real kernel on every device, the history's file."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from merger.errors import WhisperMergeError
from ui.executor import DeviceStarting, Executor, Health

FRESH = 2.0  # seconds for which an answer stands: whoever may ask must not keep the devices busy with it


class Checkup:
    """Looks at everything at once; asked more often than every FRESH seconds it repeats what it said.

    `ask()` → {"status": "ok", "starting" or "failing", "worker", "history", "devices": [{"device", "state", "ok", …}]}
    """

    def __init__(self, workshop: Any) -> None:
        self._workshop = workshop
        self._known: tuple[float, dict[str, Any]] | None = None
        self._lock = asyncio.Lock()
        self.devices: list[Health] = []  # of the last look

    async def ask(self) -> dict[str, Any]:
        async with self._lock:
            if self._known is None or time.monotonic() - self._known[0] > FRESH:
                self._known = (0.0, await asyncio.to_thread(self.look))
                self._known = (time.monotonic(), self._known[1])
            return self._known[1]

    def look(self) -> dict[str, Any]:
        """All checks, now; blocks for as long as the slowest device takes to answer or is given up."""
        worker = self._workshop.worker
        with ThreadPoolExecutor(max(1, len(worker.executors))) as threads:
            devices = list(threads.map(self._device, worker.executors))
        self.devices = [health for _, health in devices if health is not None]
        told = {"worker": worker.alive(), "history": self._history(), "devices": [told for told, _ in devices]}
        return {"status": _status(told), **told}

    def _device(self, executor: Executor) -> tuple[dict[str, Any], Health | None]:
        try:
            health = executor.check()
        except WhisperMergeError as error:
            return {**executor.status(), "ok": False, "code": error.code}, None
        told = {**executor.status(), "device": health.device, "ok": True, "kernel_seconds": round(health.seconds, 6)}
        return told, health

    def _history(self) -> bool:
        try:
            return bool(self._workshop.store.works())
        except Exception:
            return False

    async def answer(self, request: Request) -> Response:
        """`/healthz`: 200 or 503, and what was found."""
        told = await self.ask()
        return JSONResponse(told, status_code=200 if told["status"] == "ok" else 503)


def _status(told: dict[str, Any]) -> str:
    """"starting" where nothing is amiss but that a device's process does not take requests yet."""
    waited_for = [device for device in told["devices"] if not device["ok"]]
    if not (told["worker"] and told["history"] and all(one["code"] == DeviceStarting.code for one in waited_for)):
        return "failing"
    return "starting" if waited_for else "ok"
