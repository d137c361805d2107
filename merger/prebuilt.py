"""The kernels compiled in advance: for an image without a compiler, that runs on processors unlike its builder's.

    python -m merger.prebuilt FOLDER     compiles one library per processor level
    WHISPER_MERGE_KERNELS=FOLDER         has the best one loaded that this processor has the instructions for

A library's name says what it was compiled from, so one that is older than `kernels.c` is never taken. All levels give
the same bits (`-ffp-contract=off`), those of numpy.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from merger import native

log = logging.getLogger("merger")

V2 = frozenset({"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"})
V3 = V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}


@dataclass(frozen=True)
class Level:
    """What a library may use: the compiler's flag, and the names of the instructions in /proc/cpuinfo."""

    name: str
    flags: tuple[str, ...]
    needs: frozenset[str]


# Best first. The x86-64 psABI names its levels; everywhere else the machine's common ground is compiled for.
LEVELS = {
    "x86_64": (
        Level("x86-64-v4", ("-march=x86-64-v4",), V4),
        Level("x86-64-v3", ("-march=x86-64-v3",), V3),
        Level("x86-64-v2", ("-march=x86-64-v2",), V2),
        Level("x86-64", ("-march=x86-64",), frozenset()),
    )
}


def levels(machine: str | None = None) -> tuple[Level, ...]:
    """The levels of a machine (`platform.machine()`), best first; the last one runs on every processor of its kind."""
    machine = machine or platform.machine()
    return LEVELS.get(machine, (Level(machine, (), frozenset()),))


def instructions() -> frozenset[str]:
    """What this processor can, by the names of /proc/cpuinfo; nothing where there is no such file."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, words = line.partition(":")
            if name.strip() in {"flags", "Features"}:
                return frozenset(words.split())
    return frozenset()


def library_name(level: Level) -> str:
    """kernels-SOURCE-LEVEL.so, SOURCE being 16 hex digits of what is compiled and how."""
    identity = "\n".join([native.source_text(), *_flags(level)])
    return f"kernels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}-{level.name}.so"


def _flags(level: Level) -> tuple[str, ...]:
    return (*(flag for flag in native.FLAGS if flag != "-march=native"), *level.flags)


def find(folder: Path) -> Path | None:
    """The best library in `folder` that is of this source and that this processor can run; None if there is none."""
    able = instructions()
    for level in levels():
        library = folder / library_name(level)
        if level.needs <= able and library.is_file():
            return library
    log.warning("no kernels in %s are of this version and for this processor", folder)
    return None


def build_all(folder: Path) -> list[Path]:
    """Compiles every level into `folder`. Raises FileNotFoundError without a compiler, SubprocessError if it fails."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise FileNotFoundError("a C compiler: cc, gcc or clang")
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for level in levels():
        library = folder / library_name(level)
        subprocess.run(
            [compiler, *_flags(level), "-o", str(library), str(native.SOURCE)], check=True, timeout=native.BUILD_SECONDS
        )
        library.chmod(0o755)  # the loader refuses what others may write
        made.append(library)
    return made


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m merger.prebuilt FOLDER", file=sys.stderr)
        return 2
    try:
        made = build_all(Path(arguments[0]))
    except (OSError, subprocess.SubprocessError) as error:
        print(f"the kernels could not be compiled: {error}", file=sys.stderr)
        return 1
    for library in made:
        print(library)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
