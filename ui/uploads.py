"""Where uploads lie until they are taken over, and who sent each: a path by itself opens nothing."""

import os
import secrets
import tempfile
import threading
import time
from collections import OrderedDict
from pathlib import Path

KEPT_UPLOADS = 10_000


def upload_folder() -> Path:
    """The folder that Gradio itself uses for uploads."""
    return Path(os.environ.get("GRADIO_TEMP_DIR") or Path(tempfile.gettempdir()) / "gradio")


class Uploads:
    """Path of an uploaded file → visitor who sent it. Forgets the oldest of many."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or upload_folder()).resolve()
        self._sender: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.Lock()

    def room(self) -> Path:
        """A new folder with a name that cannot be guessed, for one request's files."""
        room = self.folder / secrets.token_hex(20)
        room.mkdir(parents=True, mode=0o700)
        return room

    def sent(self, path: str, visitor: str) -> None:
        with self._lock:
            self._sender[path] = (visitor, time.monotonic())
            while len(self._sender) > KEPT_UPLOADS:
                self._sender.popitem(last=False)

    def belongs(self, path: str, visitor: str) -> bool:
        """Whether this visitor sent this file."""
        with self._lock:
            return self._sender.get(path, ("", 0.0))[0] == visitor
