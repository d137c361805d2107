"""Where things are written on a Hugging Face Space: its disk for keeps if it has one, otherwise a temporary folder.

A Space's image may be read-only but for /tmp. Persistent storage, where somebody pays for it, is mounted at /data.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

KEPT = Path("/data")


def places(environment: Mapping[str, str] = os.environ, kept: Path = KEPT) -> dict[str, str]:
    """Variable → folder, for those that nobody has set; nothing outside of a Space."""
    if "SPACE_ID" not in environment:
        return {}
    root = (kept if _writable(kept) else Path(tempfile.gettempdir())) / "whisper-merge"
    cache = root / "cache"
    found = {
        "WHISPER_MERGE_DATA": root,
        "WHISPER_MERGE_CACHE": cache,
        "NUMBA_CACHE_DIR": cache / "numba",
        "TRITON_CACHE_DIR": cache / "triton",
        "GRADIO_TEMP_DIR": root / "incoming",
    }
    # What a Space fetches while it is built lies in the home's cache, so that is kept where it can be written.
    if not _writable(Path(environment.get("HOME", "/")) / ".cache"):
        found["HF_HOME"] = cache / "huggingface"
    return {name: str(folder) for name, folder in found.items() if name not in environment}


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, can be written to."""
    nearest = next((one for one in (folder, *folder.parents[:-1]) if one.exists()), folder)
    return os.access(nearest, os.W_OK | os.X_OK)
