"""The app as it is really started, in a process that may be killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from gradio_client import Client

from tests.ui.server import client_of

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 180.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """`data` and exports stay between two starts; `models` is the folder of the pair (base, a, b)."""

    def __init__(self, data: Path, demo: Path, **settings: str) -> None:
        self.data, self.exports = data, data / "exports"
        self.address = ""
        self.process: subprocess.Popen[bytes] | None = None
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("WHISPER_MERGE_")},
            "WHISPER_MERGE_DATA": str(data),
            "WHISPER_MERGE_DEMO_MODELS": str(demo / "models"),
            "WHISPER_MERGE_SAMPLES": str(demo / "samples"),
            "WHISPER_MERGE_DEVICE": "cpu",
            "WHISPER_MERGE_HUB": "0",
            "GRADIO_TEMP_DIR": str(data / "uploads"),
            **{f"WHISPER_MERGE_{name}": value for name, value in settings.items()},
        }

    def start(self) -> Server:
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = (self.data / "log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "app.py"], cwd=ROOT, stdout=self.log, stderr=self.log,
            env={**self._environment, "GRADIO_SERVER_PORT": str(port)},
        )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while not self.healthy():
            assert self.process.poll() is None, (self.data / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, (self.data / "log").read_text()[-3000:]
            time.sleep(0.1)
        return self

    def healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/healthz", timeout=10) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def client(self) -> Client:
        return client_of(self.address)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self, seconds: float = 60.0) -> tuple[float, int]:
        """(seconds until it was gone, its exit status)."""
        assert self.process is not None
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return_code = self.process.wait(seconds)
        return time.monotonic() - started, return_code

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.log.close()
