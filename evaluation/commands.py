"""The commands of `python -m evaluation`, one function each."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from evaluation.importers import IMPORTERS, import_corpus
from evaluation.manifest import Entry, read_manifest
from evaluation.normalize_ru import LEVELS
from merger.bilingual import LANGUAGES, Text
from merger.errors import BadParameter, Fault, MissingFile

T = Text


class _Parser(argparse.ArgumentParser):
    """argparse whose faults are coded errors in the user's language."""

    def error(self, message: str) -> NoReturn:
        raise BadParameter(
            faults=[
                Fault(
                    T(f"Ключи не поняты: {message}.", f"The flags were not understood: {message}."),
                    T("Список ключей: python -m evaluation --help.", "All flags: python -m evaluation --help."),
                )
            ]
        )


def run(arguments: list[str], lang: str) -> int:
    """Dispatch to a command; without one, evaluate."""
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:], lang)
    return evaluate_command(arguments, lang)


def _parser(lang: str, name: str, about: Text, epilog: Text | None = None) -> _Parser:
    parser = _Parser(
        prog=f"python -m evaluation{name}",
        description=about.get(lang),
        epilog=epilog.get(lang) if epilog else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    help_text = T("язык сообщений и отчёта", "language of messages and report")
    parser.add_argument("--lang", choices=LANGUAGES, default=lang, help=help_text.get(lang))
    return parser


EPILOG = T(
    "Другие команды:\n"
    "  python -m evaluation score ФАЙЛ.jsonl [--level L2] [--json]   оценить строки reference/hypothesis\n"
    "  python -m evaluation report МАНИФЕСТ --output ПАПКА           отчёт заново по готовым предсказаниям\n"
    "  python -m evaluation import ВИД ИСТОЧНИК МАНИФЕСТ.jsonl       Common Voice, CSV, папка, Hugging Face\n"
    "  python -m evaluation who МАНИФЕСТ --model a=… --model b=…     кто слышит, кто пишет",
    "Other commands:\n"
    "  python -m evaluation score FILE.jsonl [--level L2] [--json]   score lines of reference/hypothesis\n"
    "  python -m evaluation report MANIFEST --output FOLDER          the report again from kept predictions\n"
    "  python -m evaluation import KIND SOURCE MANIFEST.jsonl        Common Voice, CSV, folder, Hugging Face\n"
    "  python -m evaluation who MANIFEST --model a=… --model b=…     who hears, who writes",
)


def evaluate_command(arguments: Sequence[str], lang: str) -> int:
    """MANIFEST --model NAME=PATH … [--merge RECIPE.json …] --output DIR [--resume]"""
    about = T("Сравнить модели и рецепты слияния на записях манифеста.", "Compare models and recipes on a manifest.")
    parser = _parser(lang, "", about, EPILOG)

    def add(flag: str, ru: str, en: str, **more: Any) -> None:
        parser.add_argument(flag, help=T(ru, en).get(lang), **more)

    add("manifest", "манифест JSONL", "JSONL manifest", type=Path)
    add("--model", "модель: папка или имя на Hub; можно несколько", "a model: folder or Hub id; repeatable",
        action="append", default=[], metavar="NAME=PATH")  # fmt: skip
    add("--merge", "рецепт слияния; можно несколько", "a merge recipe; repeatable",
        action="append", default=[], metavar="[NAME=]RECIPE.json")  # fmt: skip
    add("--output", "папка отчёта", "folder of the report", type=Path, required=True)
    add("--resume", "продолжить прерванный прогон", "go on with an interrupted run", action="store_true")
    add("--skip-bad", "пропустить негодные строки манифеста", "leave out bad manifest lines", action="store_true")
    add("--level", "уровень нормализации", "normaliser level", choices=LEVELS, default="L2")
    add("--batch", "записей за раз", "clips side by side", type=_positive)
    add("--device", "auto, cpu, cuda, cuda:1", "auto, cpu, cuda, cuda:1", default="auto")
    add("--dtype", "точность вычислений", "arithmetic", choices=["float32", "float16", "bfloat16"])
    add("--repeats", "прогонов для измерения скорости", "passes of the speed measurement", type=int, default=3)
    add("--executor", "где считать", "where to compute", choices=["local", "ray"], default="local")
    add("--ray-address", "кластер Ray; без него Ray запускается здесь", "Ray cluster; without it Ray is started here")
    add("--ray-workers", "рабочих процессов Ray", "Ray workers", type=_positive)
    add("--json", "итог в JSON", "the outcome as JSON", action="store_true")
    given = parser.parse_args(arguments)

    from evaluation.evaluate import evaluate
    from evaluation.runner import RunOptions
    from evaluation.systems import plan_systems

    systems = plan_systems(_named(given.model), [_recipe(value) for value in given.merge])
    manifest = read_manifest(given.manifest, skip_bad=given.skip_bad)
    for fault in manifest.skipped:
        print(fault.sentence.get(lang), file=sys.stderr)
    options = RunOptions(device=given.device, dtype=given.dtype, batch=given.batch, repeats=given.repeats)
    executor = None
    if given.executor == "ray":
        from evaluation.cluster import RayExecutor

        executor = RayExecutor(given.ray_address, given.ray_workers)
    bar = _ProgressLine(lang)
    results, page = evaluate(
        manifest, systems, given.output, options,
        lang=given.lang, level=given.level, resume=given.resume, executor=executor, on_progress=bar,
    )  # fmt: skip
    bar.close()
    if given.json:
        print(
            json.dumps(
                {"ok": True, "report": str(page), "cells": [asdict(c) for c in results.cells]}, ensure_ascii=False
            )
        )
    else:
        print(T(f"Отчёт: {page}", f"Report: {page}").get(lang))
    return 0


def score_command(arguments: Sequence[str], lang: str) -> int:
    """FILE.jsonl [--level L0|L1|L2|L3] --json"""
    from evaluation.score_lines import read_pairs, score_pairs

    parser = _parser(lang, " score", T("Оценить строки reference/hypothesis.", "Score lines of reference/hypothesis."))
    parser.add_argument("file", type=Path)
    parser.add_argument("--level", choices=LEVELS, default="L2")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    if not given.file.is_file():
        raise MissingFile(file=given.file.name, detail=T("нет такого файла", "no such file"))
    scores = score_pairs(read_pairs(given.file), given.level)
    if given.json:
        print(json.dumps(scores, ensure_ascii=False, indent=1))
        return 0
    shown = {key: "—" if scores[key] is None else f"{scores[key]:.2%}" for key in ("wer", "cer")}
    print(
        f"WER {shown['wer']}   CER {shown['cer']}   S {scores['substitutions']} D {scores['deletions']}"
        f" I {scores['insertions']}   N {scores['reference_words']}   {scores['normalizer']} {scores['level']}"
    )
    return 0


def report_command(arguments: Sequence[str], lang: str) -> int:
    """MANIFEST --output DIR: score the kept predictions again."""
    from evaluation.evaluate import report_again

    parser = _parser(lang, " report", T("Отчёт заново по готовым предсказаниям.", "The report again from predictions."))
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--level", choices=LEVELS, default="L2")
    parser.add_argument("--skip-bad", action="store_true")
    given = parser.parse_args(arguments)
    if not (given.output / "run.json").is_file():
        raise MissingFile(file="run.json", detail=T("в этой папке нет прогона", "there is no run in this folder"))
    manifest = read_manifest(given.manifest, skip_bad=given.skip_bad)
    _, page = report_again(manifest, given.output, lang=given.lang, level=given.level)
    print(T(f"Отчёт: {page}", f"Report: {page}").get(lang))
    return 0


def import_command(arguments: Sequence[str], lang: str) -> int:
    """KIND SOURCE OUTPUT.jsonl"""
    parser = _parser(lang, " import", T("Сделать манифест из чужого корпуса.", "Make a manifest of a corpus."))
    parser.add_argument("kind", choices=sorted(IMPORTERS))
    parser.add_argument("source", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seen-by", action="append", default=[], metavar="NAME")
    parser.add_argument("--skip-bad", action="store_true")
    given = parser.parse_args(arguments)
    path, skipped = import_corpus(
        given.kind, given.source, given.output, seen_by=tuple(given.seen_by), skip_bad=given.skip_bad
    )
    for fault in skipped:
        print(fault.sentence.get(lang), file=sys.stderr)
    print(T(f"Манифест: {path}", f"Manifest: {path}").get(lang))
    return 0


def who_command(arguments: Sequence[str], lang: str) -> int:
    """MANIFEST|CLIP --model a=… --model b=… [--reference TEXT] [--json]"""
    from evaluation.audio import load_clip
    from evaluation.who import analyse, transcribe_swaps
    from merger.checkpoint import open_checkpoint

    about = T(
        "Кто слышит, кто пишет: кодировщик и декодер A и B крест-накрест.", "Encoder and decoder of A and B swapped."
    )
    parser = _parser(lang, " who", about)
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--reference", default="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=_positive)
    parser.add_argument("--level", choices=LEVELS, default="L2")
    parser.add_argument("--skip-bad", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    models = list(_named(given.model).values())
    if len(models) != 2:
        parser.error("--model a=… --model b=…")
    if given.source.suffix == ".jsonl":
        entries: Sequence[Entry] = read_manifest(given.source, skip_bad=given.skip_bad).entries
    else:
        clip = load_clip(given.source)
        entries = [Entry(1, given.source.stem, given.source, given.reference, clip.seconds, clip.sha256)]
    a, b = (open_checkpoint(model) for model in models)
    clips = [load_clip(entry.audio) for entry in entries]
    report = analyse(entries, transcribe_swaps(a, b, clips, device=given.device, batch=given.batch), given.level)
    if given.json:
        print(json.dumps(asdict(report), ensure_ascii=False))
        return 0
    for name, split in report.splits.items():
        values = "  ".join(f"{swap} {value:.1%}" for swap, value in split.values.items())
        shares = Text(
            f"B − A {split.total.value:+.1%}: слух {split.encoder.value:+.1%}, письмо {split.decoder.value:+.1%}",
            f"B − A {split.total.value:+.1%}: hearing {split.encoder.value:+.1%}, writing {split.decoder.value:+.1%}",
        )
        print(f"{name}: {values}  {shares.get(lang)}")
    if report.suggestion is not None:
        weights = [
            ",".join(f"{w:g}" for w in pair)
            for pair in (report.suggestion.encoder_weights, report.suggestion.decoder_weights)
        ]
        print(f"--encoder-weights {weights[0]} --decoder-weights {weights[1]}  ({report.suggestion.reason.get(lang)})")
    else:
        for name, texts in report.texts.items():
            print(name, *(f"{swap}: {text}" for swap, text in texts.items()), sep="\n  ")
    return 0


COMMANDS: dict[str, Callable[[Sequence[str], str], int]] = {
    "score": score_command,
    "report": report_command,
    "import": import_command,
    "who": who_command,
}


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _named(values: Sequence[str]) -> dict[str, str]:
    """NAME=PATH …; without a name the path's last part is the name. Raises BadParameter for a name used twice."""
    models: dict[str, str] = {}
    for value in values:
        name, found, path = value.partition("=")
        name, path = (name, path) if found and name and "/" not in name else (Path(value).name, value)
        if name in models:
            raise BadParameter(
                faults=[
                    Fault(
                        T(f"Имя модели занято дважды: {name}.", f"The model name {name} is used twice."),
                        T("Дайте моделям разные имена: --model ИМЯ=ПУТЬ.", "Name them differently: --model NAME=PATH."),
                    )
                ]
            )
        models[name] = path
    return models


def _recipe(value: str) -> tuple[str, Any]:
    from merger.recipe import MergeRecipe

    name, found, path = value.partition("=")
    path, name = (path, name) if found else (value, Path(value).stem)
    file = Path(path)
    if not file.is_file():
        raise MissingFile(file=file.name, detail=T("нет такого рецепта", "no such recipe"))
    return name, MergeRecipe.from_json(file.read_text(encoding="utf-8"))


class _ProgressLine:
    """«merged 48/120 клипов, осталось 35 с» on standard error."""

    def __init__(self, lang: str) -> None:
        self.lang, self.terminal, self.shown = lang, sys.stderr.isatty(), 0.0

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if now - self.shown < (0.1 if self.terminal else 5.0) and progress.done_clips < progress.total_clips:
            return
        self.shown = now
        left = "" if progress.remaining is None else T(", осталось {s} с", ", {s} s left").get(self.lang)
        line = f"{progress.system} {progress.done_clips}/{progress.total_clips}" + left.format(
            s=f"{progress.remaining or 0:.0f}"
        )
        sys.stderr.write(f"\r\x1b[K{line}" if self.terminal else line + "\n")
        sys.stderr.flush()

    def close(self) -> None:
        """Leave the cursor on a fresh line."""
        if self.terminal and self.shown:
            sys.stderr.write("\n")
