"""Compiles the C module through which Triton starts kernels, so that an image can do without a compiler.

    python -m deploy.triton_launcher FOLDER

Triton compiles it when it first meets a GPU and keeps it in TRITON_CACHE_DIR under the hash of its source. It links
against the driver's libcuda.so.1, which no image brings; a library of that name with empty functions serves instead.
Where triton is not installed (without CUDA) an empty folder is left.
"""

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path


def build(folder: Path) -> list[Path]:
    """What was compiled into `folder`, laid out as TRITON_CACHE_DIR. Raises FileNotFoundError without a compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("triton") is None:
        return []
    compiler = next((found for name in ("gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise FileNotFoundError("a C compiler: gcc or clang")
    with tempfile.TemporaryDirectory() as scratch:
        os.environ |= {"TRITON_CACHE_DIR": str(folder), "TRITON_LIBCUDA_PATH": scratch}
        from triton.backends.nvidia import driver

        called = set(re.findall(r"\bcu[A-Z]\w*", Path(driver.dirname, "driver.c").read_text()))
        stub = Path(scratch) / "libcuda.so.1"
        link = [compiler, "-shared", "-fPIC", "-x", "c", "-", "-Wl,-soname,libcuda.so.1", "-o", str(stub)]
        functions = "\n".join(f"void {name}(void) {{}}" for name in sorted(called))
        subprocess.run(link, check=True, input=functions, text=True)
        # Triton loads what it compiled; the loader is content with a library of this name that is there already.
        ctypes.CDLL(str(stub), mode=ctypes.RTLD_GLOBAL)
        driver.CudaUtils()
    return sorted(path for path in folder.rglob("*.so"))


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: python -m deploy.triton_launcher FOLDER", file=sys.stderr)
        return 2
    made = build(Path(arguments[0]))
    print("\n".join(map(str, made)) or "triton is not installed: nothing to compile")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
