"""The commands of `python -m merger`: merge (when no command is named), methods, explain, verify.

Exit status: 0 success (also after a loud fallback), 2 bad arguments, 130 stopped, 1 any other coded error.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from merger import __version__
from merger.arguments import MergeRequest, read_request
from merger.bilingual import LANGUAGES, Text, preferred_language
from merger.console import (
    ProgressBar,
    escape_unencodable,
    help_text,
    methods_table,
    print_json,
    report_text,
)
from merger.errors import BadParameter
from merger.failures import tell
from merger.flags import fault, parse_arguments
from merger.registry import methods
from merger.transaction import disk_errors

log = logging.getLogger("merger")


def _values_of(flag: str, arguments: Sequence[str]) -> list[str]:
    """The values of a flag, found before the command line is parsed: a faulty one too needs language and log."""
    values = []
    for index, word in enumerate(arguments):
        if word.startswith(f"{flag}="):
            values.append(word.partition("=")[2])
        elif word == flag and index + 1 < len(arguments):
            values.append(arguments[index + 1])
    return values


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    return next(reversed(_values_of(flag, arguments)), None)


def _language(arguments: Sequence[str]) -> str:
    value = _value_of("--lang", arguments)
    return value if value in LANGUAGES else preferred_language()


def _check_language(arguments: Sequence[str]) -> None:
    value = _value_of("--lang", arguments)
    if value is None or value in LANGUAGES:
        return
    raise BadParameter(
        faults=[fault(f"--lang: нет языка «{value}».", f"--lang: there is no language “{value}”.",
                      "Есть ru и en.", "There are ru and en.", "--lang")]
    )  # fmt: skip


def _set_up_log(arguments: Sequence[str]) -> None:
    logging.captureWarnings(True)
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(logging.NullHandler())
    path = _value_of("--log", arguments)
    if path is None:
        return
    _require_no_model_there("--log", Path(path))
    _require_no_recipe("--log", Path(path), _values_of("--recipe", arguments))
    try:
        # A name in a damaged file may hold half a surrogate pair, which is no UTF-8.
        handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise BadParameter(
            faults=[fault(f"--log: в «{path}» нельзя писать.", f"--log: “{path}” cannot be written.",
                          "Укажите другой файл.", "Name another file.", "--log")]
        ) from error  # fmt: skip
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.info("whisper-merge %s, Python %s; arguments: %s", __version__, platform.python_version(), list(arguments))


def _require_no_model_there(flag: str, file: Path) -> None:
    """Raises BadParameter if a file to be written would lie among the weights of a model, or replace them.

    Any model's folder, not only those of the command: the log begins before the sources are known, some of which are
    named in a recipe or on the Hub.
    """
    for folder in {file.parent, Path(os.path.realpath(file)).parent}:
        # The Hub's cache keeps the bytes themselves in `blobs`, beside the folders of links that are opened.
        blobs = folder.name == "blobs" and (folder.parent / "snapshots").is_dir()
        if blobs or any(folder.glob("*.safetensors")):
            raise BadParameter(
                faults=[fault(f"{flag}: «{file}» лежит в папке модели, там ничего нельзя менять.",
                              f"{flag}: “{file}” lies in the folder of a model, where nothing may be changed.",
                              "Укажите файл в другой папке.", "Name a file in another folder.", flag)]
            )  # fmt: skip


def _require_no_recipe(flag: str, file: Path, recipes: Sequence[str]) -> None:
    """Raises BadParameter if a file to be written is a recipe of the command, also through a link."""
    for recipe in map(Path, recipes):
        # Neither need exist: the log would become the recipe.
        same = os.path.exists(file) and os.path.exists(recipe) and file.samefile(recipe)
        if same or os.path.realpath(file) == os.path.realpath(recipe):
            raise BadParameter(
                faults=[fault(f"{flag}: «{file}» — файл рецепта, его нельзя менять.",
                              f"{flag}: “{file}” is the file of the recipe, which may not be changed.",
                              "Укажите другой файл.", "Name another file.", flag)]
            )  # fmt: skip


def run_merge(arguments: Sequence[str], lang: str) -> int:
    """Merge as the flags say."""
    given, faults = parse_arguments(arguments)
    if given.get("--help"):
        print(help_text(lang))
        return 0
    reports, names, base = _merge(read_request(given, faults), lang)
    for report in reports:
        log.info("%s", json.dumps(report.to_json("en"), ensure_ascii=False))
    if given.get("--json"):
        print_json({"ok": True, "results": [report.to_json(lang) for report in reports]})
    else:
        for report in reports:
            print(report_text(report, lang, names, base))
    return 0


def _merge(request: MergeRequest, lang: str) -> tuple[list[Any], list[str], str | None]:
    """The reports, the names of the models (two at least) and that of the base."""
    from merger.compatibility import open_all
    from merger.disk import merge_outputs
    from merger.engine import BASE

    sources = open_all(request.sources)
    if request.recorded is not None:
        sources = request.recorded.require(sources)
    models = [model.name for key, model in sources.items() if key != BASE]
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stopped.append(received))
    bar = ProgressBar(lang)
    try:
        reports = merge_outputs(
            {request.output_dir / folder if folder else request.output_dir: recipe
             for folder, recipe in request.recipes.items()},
            sources,
            device=request.device,
            donor=request.donor,
            dtype=request.dtype,
            max_shard_bytes=request.max_shard_bytes,
            verify=request.verify,
            on_progress=bar,
            cancelled=lambda: bool(stopped),
        )  # fmt: skip
    finally:
        bar.close()
    base = sources[BASE].name if BASE in sources else None
    reports = [replace(report, warnings=[*request.warnings, *report.warnings]) for report in reports]
    return reports, models if len(models) > 1 else models * 2, base


def run_methods(arguments: Sequence[str], lang: str) -> int:
    """List the methods, as text or as JSON."""
    given, others = _options(arguments, set(), {"--json", "--markdown"})
    if others:
        raise _usage("python -m merger methods [--json|--markdown]")
    if "--markdown" in given:
        print(methods_table(lang))
    elif "--json" in given:
        print_json([spec.to_json(lang) for spec in methods().values()], indent=2)
    else:
        for spec in methods().values():
            print(f"{spec.name:<16} {spec.title.get(lang)}: {spec.summary.get(lang)}")
    return 0


def run_verify(arguments: Sequence[str], lang: str) -> int:
    """Read a result from end to end."""
    from merger.bilingual import byte_size
    from merger.verify import verify_folder

    given, folders = _options(arguments, set(), {"--json"})
    if len(folders) != 1:
        raise _usage("python -m merger verify FOLDER [--json]")
    found = verify_folder(folders[0])
    if "--json" in given:
        print_json(found.to_json())
    else:
        size = byte_size(found.nbytes, lang)
        words_found = Text(
            f"Цело: тензоров {found.tensors}, {size}, файлов {found.files}; метод {found.record['performed']}.",
            f"Whole: {found.tensors} tensors, {size}, {found.files} files; method {found.record['performed']}.",
        )
        print(words_found.get(lang))
    return 0


def run_explain(arguments: Sequence[str], lang: str) -> int:
    """Show where two models differ."""
    from merger.compatibility import open_all
    from merger.engine import BASE
    from merger.explain import explain
    from merger.explain_table import explanation_table
    from merger.provenance import write_json

    given, folders = _options(arguments, {"--base", "--save"}, {"--json"})
    if len(folders) != 2:
        raise _usage("python -m merger explain A B [--base S] [--json] [--save FILE]")
    if "--save" in given:
        _require_no_model_there("--save", Path(given["--save"]))
    places = {"a": folders[0], "b": folders[1], **({BASE: given["--base"]} if "--base" in given else {})}
    models = open_all(places)
    found = explain(models["a"], models["b"], models.get(BASE))
    if "--save" in given:
        file = Path(given["--save"])
        with disk_errors(file):
            write_json(file, found.to_json(lang))
    if "--json" in given:
        print_json(found.to_json(lang))
    else:
        print(explanation_table(found, lang))
    return 0


def _options(words: Sequence[str], valued: set[str], switches: set[str]) -> tuple[dict[str, str], list[str]]:
    """Flags with their values (switches have "") and the other words. Raises BadParameter."""
    given: dict[str, str] = {}
    others: list[str] = []
    valued = valued | {"--lang", "--log"}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if flag in switches and not equals:
            given[flag] = ""
        elif flag in valued:
            given[flag] = value if equals else next(rest, "")
            if not given[flag]:
                raise _usage(f"{flag} VALUE")
        elif word.startswith("--"):
            raise _usage(" ".join(sorted(valued | switches)))
        else:
            others.append(word)
    return given, others


def _usage(example: str) -> BadParameter:
    return BadParameter(faults=[fault("Команда не понята.", "The command is not understood.",
                                      f"Так: {example}.", f"Like this: {example}.")])  # fmt: skip


COMMANDS: dict[str, Callable[[Sequence[str], str], int]] = {
    "merge": run_merge,
    "methods": run_methods,
    "explain": run_explain,
    "verify": run_verify,
}


def _dispatch(arguments: Sequence[str], lang: str) -> int:
    first = arguments[0] if arguments else ""
    if first in COMMANDS and {"--help", "-h"} & set(arguments):
        print(help_text(lang))
        return 0
    if first in COMMANDS:
        return COMMANDS[first](arguments[1:], lang)
    if first and not first.startswith("-"):
        raise _usage("python -m merger [" + "|".join(COMMANDS) + "] … (--help)")
    return run_merge(arguments, lang)


def main(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit status. Never shows a traceback: that goes to the log."""
    escape_unencodable()
    lang = _language(arguments)
    try:
        _set_up_log(arguments)
        _check_language(arguments)
        return _dispatch(arguments, lang)
    except (Exception, KeyboardInterrupt) as error:
        return tell(error, lang, "--json" in arguments, log)
