"""Files that attackers upload."""

from __future__ import annotations

import io
import struct
import zipfile

import numpy as np

ZEROS = 1 << 20


def tone(seconds: float = 0.5, rate: int = 16_000) -> bytes:
    """A small honest WAV file."""
    import soundfile

    samples = 0.3 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="WAV")
    return out.getvalue()


def silence(hours: float) -> bytes:
    """Hours of silence in a FLAC file of some hundred kilobytes."""
    import soundfile

    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", samplerate=8_000, channels=1, format="FLAC") as file:
        block = np.zeros(8_000 * 60, np.int16)
        for _ in range(int(hours * 60)):
            file.write(block)
    return out.getvalue()


def boastful_wav() -> bytes:
    """A WAV header that promises 4 GB, 65,535 channels and 4 GHz, with nothing behind it."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", 0xFFFFFFFF, b"WAVE", b"fmt ", 16, 1, 65_535, 4_000_000_000, 4_000_000_000,
        65_535, 16, b"data", 0xFFFFFFFF,
    )  # fmt: skip


def playlist(address: str) -> bytes:
    """An HLS playlist that makes a careless decoder fetch an address."""
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{address}\n#EXT-X-ENDLIST\n".encode()


def zip_of(files: dict[str, bytes], mode: int = 0) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in files.items():
            member = zipfile.ZipInfo(name)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = mode << 16
            packed.writestr(member, data)
    return out.getvalue()
