"""`python -m evaluation`: run (when no command is named), score, report, import, who.

Exit status: 0 success, 2 bad arguments, manifest or file, 130 stopped, 1 any other coded error.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from evaluation import commands
from merger.bilingual import LANGUAGES, preferred_language
from merger.console import escape_unencodable
from merger.failures import tell

log = logging.getLogger("evaluation")


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status. Never shows a traceback: that goes to the log."""
    escape_unencodable()
    lang, as_json = _language(arguments), "--json" in arguments
    try:
        return commands.run(list(arguments), lang)
    except BrokenPipeError:
        return 0
    except (Exception, KeyboardInterrupt) as error:
        return tell(error, lang, as_json, log)


def _language(arguments: Sequence[str]) -> str:
    for i, word in enumerate(arguments):
        value = word.partition("=")[2] if word.startswith("--lang=") else None
        if word == "--lang" and i + 1 < len(arguments):
            value = arguments[i + 1]
        if value in LANGUAGES:
            return value
    return preferred_language()


if __name__ == "__main__":
    log.addHandler(logging.NullHandler())
    sys.exit(main(sys.argv[1:]))
