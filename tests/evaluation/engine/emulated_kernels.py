"""Kernels in CUDA without a GPU: compiled by a C++ compiler, their threads run in turn (`emulated.hpp`)."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from evaluation.engine.cuda_kernels import KernelLaunch, Packed, Program

PRIMITIVES = Path(__file__).with_name("emulated.hpp")


class Emulated:
    """A program for the processor."""

    def __init__(self, program: Program, folder: Path) -> None:
        compiler = shutil.which("g++") or shutil.which("clang++")
        if compiler is None:
            if os.environ.get("CI") == "true":
                pytest.fail("no C++ compiler: the CUDA kernels would go untested")
            pytest.skip("no C++ compiler")
        text, library = folder / "kernels.cpp", folder / "kernels.so"
        entries = "\n".join(f"EMULATE({name})" for name in program.kernels)
        text.write_text(program.source(PRIMITIVES) + entries, encoding="utf-8")
        command = [compiler, "-std=c++17", "-O1", "-fPIC", "-shared", "-w", "-o", str(library), str(text)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ran.returncode == 0, ran.stderr[:3000]
        self._library = ctypes.CDLL(str(library))

    def run(self, launch: KernelLaunch, seed: int, together: int = 1) -> None:
        """Run all blocks, `together` of them at the same time; fails if all threads wait for ever."""
        packed = Packed(launch.arguments)  # to be kept: what is passed are addresses in it
        run = getattr(self._library, f"emulate_{launch.kernel}")
        assert run(ctypes.c_void_p(packed.address), launch.blocks, together, seed) == 0, "all wait"
