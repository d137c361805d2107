"""Decoding in a process of its own, for files of strangers: a decoder that hangs, swells or crashes takes nothing
along.

Run as `python -m evaluation.audio_child`: limits as JSON on standard input, samples (or the error as JSON) on
standard output.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.audio import SAMPLE_RATE, AudioClip, AudioLimits, decode, file_sha256
from evaluation.errors import AudioTooLong, BadAudio
from merger.bilingual import Text

MEMORY = 2 << 30  # bytes of address space: libraries take about 0.6 GB of it, an hour of 16 kHz samples 0.23 GB
SECONDS = 60.0  # of wall clock and of processor time
ROOT = Path(__file__).resolve().parent.parent
_ERRORS = {error.code: error for error in (BadAudio, AudioTooLong)}


def load_clip_apart(path: str | Path, limits: AudioLimits | None = None, seconds: float = SECONDS) -> AudioClip:
    """`audio.load_clip` in a child process. Raises BadAudio and AudioTooLong as that does, and BadAudio (reason
    "slow" or "damaged") where the child had to be stopped or died. Costs about 0.3 s more."""
    path, limits = Path(path), limits or AudioLimits()
    order = {"path": str(path.resolve()), "limits": asdict(limits), "seconds": seconds}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "evaluation.audio_child"], input=json.dumps(order).encode(),
            capture_output=True, timeout=seconds, cwd=ROOT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BadAudio(name=path.name, reason="slow", value=seconds) from None
    if done.returncode == 0:
        samples = np.frombuffer(done.stdout, np.float32)
        return AudioClip(samples, len(samples) / SAMPLE_RATE, file_sha256(path), path.name)
    if done.returncode == 1 and done.stdout:
        told: dict[str, Any] = json.loads(done.stdout)
        raise _ERRORS[told["code"]](**told["facts"])
    raise BadAudio(name=path.name, reason="damaged")


def main() -> int:
    """The child."""
    import resource

    order = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    cpu = max(1, int(order["seconds"]))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        samples = decode(Path(order["path"]), AudioLimits(**order["limits"]))
    except (BadAudio, AudioTooLong) as error:
        facts = {key: value for key, value in error.facts.items() if not isinstance(value, Text)}
        sys.stdout.write(json.dumps({"code": error.code, "facts": facts}))
        return 1
    sys.stdout.buffer.write(samples.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(main())
