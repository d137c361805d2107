"""Nothing secret in the log: every record is cleaned when it is made, whoever writes it and wherever it goes."""

import logging
import os
import re
import traceback
from collections.abc import Callable, Mapping

HIDDEN = "[hidden]"
SECRET_NAMES = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|CREDENTIAL", re.IGNORECASE)
SHORTEST = 8  # a shorter value of an environment variable would hide ordinary words
PATTERNS = (
    re.compile(r"hf_[A-Za-z0-9]{16,}"),
    re.compile(r"(?<=Bearer )[\w.~+/=-]+", re.IGNORECASE),
    re.compile(r"(?<=Basic )[A-Za-z0-9+/=]{8,}"),
    re.compile(r"(?<=wm_login=)[\w-]+|(?<=wm_visitor=)[\w-]+|(?<=access-token-)[^\s;]+"),
    re.compile(r"(?<=scrypt\$)[\w$+/=]+"),
    # password=…, "password": "…", 'owner': '…'
    re.compile(r"""(?i)(?<=password)["']?\s*[=:]\s*["']?[^\s"'&,}]+|(?<=["']owner["']:)\s*["'][\w-]{22,64}["']"""),
)


def redacted(text: str, secrets: tuple[str, ...] = ()) -> str:
    """The text without tokens, cookies, passwords and the given words."""
    for word in secrets:
        text = text.replace(word, HIDDEN)
    for pattern in PATTERNS:
        text = pattern.sub(HIDDEN, text)
    return text


def environment_secrets(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Values of variables whose names say that they are secret."""
    found = {value for name, value in environment.items() if SECRET_NAMES.search(name) and len(value) >= SHORTEST}
    return tuple(sorted(found, key=len, reverse=True))


def install(environment: Mapping[str, str] = os.environ) -> Callable[[], None]:
    """Cleans every log record of this process from now on; returns a function that ends it."""
    before = logging.getLogRecordFactory()
    secrets = environment_secrets(environment)

    def clean(*arguments: object, **named: object) -> logging.LogRecord:
        record = before(*arguments, **named)
        try:
            record.msg, record.args = redacted(record.getMessage(), secrets), ()
        except Exception:  # a message that does not fit its arguments: logging says so itself
            return record
        if record.exc_info and record.exc_info[0] is not None:
            record.exc_text = redacted("".join(traceback.format_exception(*record.exc_info)).rstrip(), secrets)
        return record

    logging.setLogRecordFactory(clean)
    return lambda: logging.setLogRecordFactory(before)
