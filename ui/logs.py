"""The log: lines for people, or one JSON object per line for machines.

At INFO it says what happened to which job of whom, never what was said or written: owners are digests, and
`ui.redaction` cleans every record of tokens, cookies and passwords before it comes here.
"""

import json
import logging
import sys
import time
from typing import Any

from ui import redaction

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
FIELDS = ("job", "owner", "kind", "lane", "state", "code", "error", "seconds", "waited", "device", "pid")


class JsonLines(logging.Formatter):
    """`{"time", "level", "logger", "message", …}` with those of FIELDS that a record was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            told["trace"] = record.exc_text or self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False, default=str)


class Lines(logging.Formatter):
    """The message, and the same fields after it as `name=value`."""

    def format(self, record: logging.LogRecord) -> str:
        first, *trace = super().format(record).split("\n")
        found = (f"{name}={value}" for name in FIELDS if (value := getattr(record, name, None)) is not None)
        return "\n".join([" ".join([first, *found]), *trace])


def configure(log_format: str = "text") -> None:
    """Sets the log of this process up: standard error, INFO, "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else Lines(TEXT))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def begin_process(log_format: str) -> None:
    """The same, for a process that was started by this program."""
    configure(log_format)
    redaction.install()
