"""Decoding in a process of its own, for files of strangers: a decoder that hangs, swells or crashes takes nothing
along.

Run as `python -m evaluation.audio_child`: limits as JSON on standard input, samples (or the error as JSON) on
standard output.
"""

from __future__ import annotations

import json
import os
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
# No tokens and passwords: a decoder that a file has taken over finds nothing to take along.
KEPT_VARIABLES = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "OMP_NUM_THREADS")
ROOT = Path(__file__).resolve().parent.parent
_ERRORS = {error.code: error for error in (BadAudio, AudioTooLong)}


def load_clip_apart(
    path: str | Path, limits: AudioLimits | None = None, seconds: float = SECONDS, memory: int = MEMORY
) -> AudioClip:
    """`audio.load_clip` in a child process with `seconds` of time and `memory` bytes of address space.

    Raises BadAudio and AudioTooLong as that does, and BadAudio (reason "slow" or "damaged") where the child had to be
    stopped or died. Costs about 0.3 s more.
    """
    path, limits = Path(path), limits or AudioLimits()
    order = {"path": str(path.resolve()), "limits": asdict(limits), "seconds": seconds, "memory": memory}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "evaluation.audio_child"], input=json.dumps(order).encode(),
            capture_output=True, timeout=seconds, cwd=ROOT, check=False,
            env={name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BadAudio(name=path.name, reason="slow", value=seconds) from None
    if done.returncode == 0:
        samples = np.frombuffer(done.stdout, np.float32).copy()  # a buffer of its own, which may be written
        return AudioClip(samples, len(samples) / SAMPLE_RATE, file_sha256(path), path.name)
    if done.returncode == 1 and done.stdout:
        told: dict[str, Any] = json.loads(done.stdout)
        raise _ERRORS[told["code"]](**told["facts"])
    raise BadAudio(name=path.name, reason="damaged")


def main() -> int:
    """The child."""
    import resource

    order = json.loads(sys.stdin.buffer.read())
    resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    cpu = max(1, int(order["seconds"]))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # a decoder has nothing to write
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
