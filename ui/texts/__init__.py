"""The page's words in both languages; keys are equal, a test keeps it so."""

import json
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@cache
def texts() -> dict[str, dict[str, str]]:
    """`{"ru": {key: text}, "en": {…}}`."""
    return {lang: json.loads((FOLDER / f"{lang}.json").read_text(encoding="utf-8")) for lang in ("ru", "en")}
