"""Malformed recordings: the right code, soon, and no memory kept."""

import random
import resource
import time
from pathlib import Path

import pytest

from evaluation.errors import AudioTooLong, BadAudio
from merger.errors import WhisperMergeError
from tests.faults.conftest import LONG, Reached, how_many
from tests.ui.acting import awaited
from tests.ui.conftest import OWNER, write_tone
from ui.memory import resident_bytes
from ui.workshop import Workshop

FORMATS = ("wav", "flac", "ogg", "mp3")


def spoilt(chance: random.Random, source: bytes) -> bytes:
    """One of: cut short, bytes changed, a stretch zeroed or repeated, the head changed, something else entirely."""
    data = bytearray(source)
    how = chance.randrange(6)
    if how == 0:
        return bytes(data[: chance.randrange(len(data))])
    if how == 1:
        for _ in range(chance.randrange(1, 200)):
            data[chance.randrange(len(data))] = chance.randrange(256)
    elif how == 2:
        start = chance.randrange(len(data))
        data[start : start + chance.randrange(1, 4000)] = b"\0" * chance.randrange(0, 4000)
    elif how == 3:
        start = chance.randrange(len(data))
        data[start:start] = data[start : start + chance.randrange(1, 20_000)]
    elif how == 4:
        for _ in range(chance.randrange(1, 12)):
            data[chance.randrange(min(len(data), 64))] = chance.randrange(256)
    else:
        return chance.randbytes(chance.randrange(0, 50_000))
    return bytes(data)


def test_malformed_recordings(workshop: Workshop, tmp_path: Path, reached: Reached) -> None:
    uploads, count = tmp_path / "uploads", how_many(1000, 60)
    sources = [write_tone(tmp_path / f"tone.{ending}", seconds=3.0).read_bytes() for ending in FORMATS]
    chance, codes, slowest = random.Random(7), dict[str, int](), 0.0
    before = 0
    for number in range(count):
        if number == count // 10:
            before = resident_bytes()  # after the decoders are loaded
        kind = number % len(FORMATS)
        given = uploads / f"clip.{FORMATS[kind]}"
        given.write_bytes(spoilt(chance, sources[kind]))
        started = time.monotonic()
        try:
            awaited(workshop.clips.decode_upload(given, given.name))
            code = "heard"
        except (BadAudio, AudioTooLong) as error:
            code = error.code
            assert error.sentence("ru") and error.remedy("ru") and str(tmp_path) not in error.sentence("en")
        except WhisperMergeError as error:
            pytest.fail(f"file {number}: {error.code}")
        slowest = max(slowest, time.monotonic() - started)
        codes[code] = codes.get(code, 0) + 1
    grown = resident_bytes() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert codes["BAD_AUDIO"] > count / 5 and peak > 0
    assert grown < 200_000_000
    if LONG:
        assert slowest <= 2.0
    told = ", ".join(f"{number} × {code}" for code, number in sorted(codes.items()))
    reached(
        f"{count} malformed recordings", "right code, 0 crashes, ≤ 2 s each, memory + ≤ 200 MB",
        f"{told}; slowest {slowest:.2f} s; memory + {grown / 1e6:.0f} MB",
    )  # fmt: skip
    assert workshop.clips.shelf(OWNER) == []
