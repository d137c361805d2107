"""The sound of a clip as a file of which any stretch can be asked for; and the guard around every address."""

import io
import re
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from gradio import http_server
from starlette.requests import Request

from tests.ui.server import serving
from ui.settings import Settings
from ui.web import Wav, ranged

SAMPLES = np.array([0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 0.25], dtype=np.float32)
FILE = Wav(SAMPLES, 16_000)
WHOLE = FILE.read(0, len(FILE))


def test_the_whole_file_is_a_wav_of_the_samples() -> None:
    read, rate = soundfile.read(io.BytesIO(WHOLE), dtype="int16")
    assert rate == 16_000 and len(WHOLE) == len(FILE) == 44 + 2 * len(SAMPLES)
    assert read.tolist() == [0, 16384, -16384, 32767, -32768, 32767, 8192]


@pytest.mark.parametrize("start", range(len(FILE)))
def test_any_stretch_is_that_stretch_of_the_whole(start: int) -> None:
    for stop in range(start + 1, len(FILE) + 1):
        assert FILE.read(start, stop) == WHOLE[start:stop]


@pytest.mark.parametrize(
    ("asked", "status", "body"),
    [
        (None, 200, WHOLE),
        ("bytes=44-47", 206, WHOLE[44:48]),
        ("bytes=45-", 206, WHOLE[45:]),
        ("bytes=-3", 206, WHOLE[-3:]),
        ("bytes=0-999", 206, WHOLE),
        ("bytes=500-", 416, b""),
        ("bytes=x-y", 200, WHOLE),
        ("bytes=0-1,4-5", 200, WHOLE),
    ],
)
def test_ranges(asked: str | None, status: int, body: bytes) -> None:
    headers = [] if asked is None else [(b"range", asked.encode())]
    answer = ranged(Request({"type": "http", "headers": headers}), FILE)
    assert (answer.status_code, answer.body) == (status, body)


def test_a_short_range_of_an_hour_touches_only_its_own_samples() -> None:
    class Counting(np.ndarray):
        """Samples that say how many were taken."""

        taken = 0

        def __getitem__(self, key: slice) -> np.ndarray:
            found = np.asarray(self)[key]
            Counting.taken += len(found)
            return found

    hour = Wav(np.zeros(3600 * 16_000, dtype=np.float32).view(Counting), 16_000)
    assert hour.read(1_000_000, 1_000_100) == bytes(100)
    assert Counting.taken <= 51


def test_a_server_that_finds_its_port_taken_has_one_guard_on_the_next(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two servers that start at the same moment find the same port free; one of them has to start again."""
    run, started = http_server.Server.run_in_thread, []

    def taken_once(server: Any) -> None:
        run(server)
        started.append(server)
        if len(started) == 1:
            server.close()
            raise http_server.ServerFailedToStartError

    monkeypatch.setattr(http_server.Server, "run_in_thread", taken_once)
    with serving(settings) as (address, _):
        page = httpx.get(address, timeout=60)
    assert len(started) == 2
    (nonce,) = set(re.findall(r"'nonce-([^']+)'", page.headers["content-security-policy"]))
    assert set(re.findall(r"<script nonce=([0-9a-f]+)", page.text)) == {nonce}
