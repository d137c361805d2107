"""How a command line ends badly: one coded sentence for the person, everything else for the log."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path

from merger.bilingual import Text
from merger.console import error_text, print_json
from merger.errors import (
    Cancelled,
    FaultList,
    IncompatibleModels,
    InternalError,
    MissingFile,
    WhisperMergeError,
    error_id,
)
from merger.hashing import cache_folder
from merger.out_of_memory import as_out_of_memory

LOG_BYTES = 1_000_000
SHOWN = 60  # characters of a name that is too long


def coded(error: BaseException) -> WhisperMergeError:
    """The error as a member of the tree."""
    if isinstance(error, WhisperMergeError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Cancelled()
    memory = as_out_of_memory(error)
    if memory is not None:
        return memory
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = Path(os.fsdecode(error.filename or "")).name[:SHOWN]
        return MissingFile(file=f"{name}…", detail=Text("имя слишком длинное", "the name is too long"))
    return InternalError()


def tell(error: BaseException, lang: str, as_json: bool, log: logging.Logger) -> int:
    """Says what went wrong on standard error (with `as_json` on standard output too); returns the exit status.

    The number at the end finds the line, and the trace of what nobody expected, in the log: the one that --log names,
    otherwise errors.log in the program's cache folder.
    """
    known, number = coded(error), error_id()
    with _some_log(log):
        log.error("error %s: %s", number, known, exc_info=None if known is error else error)
    print(f"{error_text(known, lang)} ({number})", file=sys.stderr)
    if as_json:
        told = {"ok": False, "error": {**known.to_json(lang), "id": number}}
        print_json(told)
    if isinstance(known, Cancelled):
        return 130
    return 2 if isinstance(known, FaultList) and not isinstance(known, IncompatibleModels) else 1


@contextlib.contextmanager
def _some_log(log: logging.Logger) -> Iterator[None]:
    """A file for the log where the command line named none; a machine on which none can be written has none."""
    with contextlib.ExitStack() as stack:
        if not any(isinstance(handler, logging.FileHandler) for handler in log.handlers):
            with contextlib.suppress(OSError, RuntimeError):
                file = cache_folder() / "errors.log"
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                handler = RotatingFileHandler(
                    file, maxBytes=LOG_BYTES, backupCount=1, encoding="utf-8", errors="backslashreplace"
                )
                handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
                log.addHandler(handler)
                stack.callback(handler.close)
                stack.callback(log.removeHandler, handler)
        yield
