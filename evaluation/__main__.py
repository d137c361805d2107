"""`python -m evaluation`: run (when no command is named), score, report, import, who.

Exit status: 0 success, 2 bad arguments, manifest or file, 130 stopped, 1 any other coded error.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Sequence

from evaluation import commands
from merger.bilingual import LANGUAGES, preferred_language
from merger.errors import Cancelled, FaultList, IncompatibleModels, OutOfMemory, WhisperMergeError

log = logging.getLogger("evaluation")


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status. Never shows a traceback: that goes to the log."""
    lang, as_json = _language(arguments), "--json" in arguments
    try:
        return commands.run(list(arguments), lang)
    except WhisperMergeError as error:
        return _tell(error, lang, as_json)
    except KeyboardInterrupt:
        return _tell(Cancelled(), lang, as_json)
    except MemoryError:
        return _tell(OutOfMemory(device="cpu"), lang, as_json)
    except BrokenPipeError:
        return 0
    except Exception as error:  # the last resort: a sentence for the user, the traceback for the log
        log.error("%s", traceback.format_exc())
        return _tell(WhisperMergeError(detail=f"{type(error).__name__}: {error}"), lang, as_json)


def _language(arguments: Sequence[str]) -> str:
    for i, word in enumerate(arguments):
        value = word.partition("=")[2] if word.startswith("--lang=") else None
        if word == "--lang" and i + 1 < len(arguments):
            value = arguments[i + 1]
        if value in LANGUAGES:
            return value
    return preferred_language()


def _tell(error: WhisperMergeError, lang: str, as_json: bool) -> int:
    from merger.console import error_text

    print(error_text(error, lang), file=sys.stderr)
    if as_json:
        print(json.dumps({"ok": False, "error": error.to_json(lang)}, ensure_ascii=False))
    if isinstance(error, Cancelled):
        return 130
    return 2 if isinstance(error, FaultList) and not isinstance(error, IncompatibleModels) else 1


if __name__ == "__main__":
    log.addHandler(logging.NullHandler())
    sys.exit(main(sys.argv[1:]))
