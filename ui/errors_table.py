"""`docs/errors.md`, made from the tree of errors: `python -m ui.errors_table > docs/errors.md`."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import evaluation
import merger
import ui
from merger.bilingual import Text
from merger.errors import FaultList, WhisperMergeError

HEAD = """# Errors

Everything that a person can cause has a code, one sentence, a remedy, in Russian and English, and a number. The page
shows code and number under the sentence; the endpoints answer `CODE: sentence remedy (number)`; HTTP refusals are JSON
with `error.code`, `error.sentence`, `error.remedy`, `error.id`; the command lines print `Error CODE: sentence remedy
(number)` and with `--json` `{"ok": false, "error": …}`. The number finds the line in the log: the server's, the file of
`--log`, or `errors.log` in the program's cache folder. `INTERNAL` is a fault of the program: the log has its trace, and
nobody else.

Words in braces are filled with what happened. “All faults” means that everything found wrong is told at once. This page
is written by `python -m ui.errors_table`; a test compares it with the code.

| code | when | sentence | remedy |
| --- | --- | --- | --- |
"""


def modules() -> Iterator[str]:
    """Names of the project's modules, without those that run when they are imported."""
    for package in (merger, evaluation, ui):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith(".__main__"):
                yield found.name


def errors() -> list[type[WhisperMergeError]]:
    """Every error with a code of its own, by code."""
    for name in modules():
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as missing:
            if (missing.name or "").split(".")[0] in {"merger", "evaluation", "ui"}:
                raise  # otherwise a package for other machines, such as triton or ray
    found = {kind.code: kind for kind in _below(WhisperMergeError) if "code" in vars(kind)}
    return [found[code] for code in sorted(found)]


def _below(kind: type[WhisperMergeError]) -> Iterator[type[WhisperMergeError]]:
    for child in kind.__subclasses__():
        yield child
        yield from _below(child)


def table() -> str:
    """The whole page."""
    return HEAD + "\n".join(_row(kind) for kind in errors()) + "\n"


def _row(kind: type[WhisperMergeError]) -> str:
    when = (inspect.getdoc(kind) or "").split("\n")[0].split(" Facts:")[0]
    several = issubclass(kind, FaultList)
    told = ("all faults", "for each of them") if several else (_both(kind.sentence_text), _both(kind.remedy_text))
    return f"| `{kind.code}` | {when} | {told[0]} | {told[1]} |"


def _both(text: Text) -> str:
    return f"{text.ru}<br>{text.en}".replace("|", "\\|")


if __name__ == "__main__":
    print(table(), end="")
