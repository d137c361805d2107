"""The commands of `python -m evaluation`, one function each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluation.arguments import ProgressLine, make_parser, named, not_negative, positive, read_recipe
from evaluation.importers import IMPORTERS, import_corpus
from evaluation.manifest import Entry, read_manifest
from evaluation.normalize_ru import LEVELS
from merger.bilingual import Text
from merger.console import print_json
from merger.errors import MissingFile

T = Text


def run(arguments: list[str], lang: str) -> int:
    """Dispatch to a command; without one, evaluate."""
    if arguments and arguments[0] in COMMANDS:
        return COMMANDS[arguments[0]](arguments[1:], lang)
    return evaluate_command(arguments, lang)


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
    parser = make_parser(lang, "", about, EPILOG)

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
    add("--batch", "записей за раз", "clips side by side", type=positive)
    add("--device", "auto, cpu, cuda, cuda:1", "auto, cpu, cuda, cuda:1", default="auto")
    add("--dtype", "точность вычислений", "arithmetic", choices=["float32", "float16", "bfloat16"])
    add("--repeats", "прогонов для измерения скорости; 0 — не измерять", "passes of the speed measurement; 0: none",
        type=not_negative, default=3)  # fmt: skip
    add("--executor", "где считать", "where to compute", choices=["local", "ray"], default="local")
    add("--ray-address", "кластер Ray; без него Ray запускается здесь", "Ray cluster; without it Ray is started here")
    add("--ray-workers", "рабочих процессов Ray", "Ray workers", type=positive)
    add("--json", "итог в JSON", "the outcome as JSON", action="store_true")
    given = parser.parse_args(arguments)

    from evaluation.evaluate import evaluate
    from evaluation.runner import RunOptions
    from evaluation.systems import plan_systems

    systems = plan_systems(named(given.model), [read_recipe(value) for value in given.merge])
    manifest = read_manifest(given.manifest, skip_bad=given.skip_bad)
    for fault in manifest.skipped:
        print(fault.sentence.get(lang), file=sys.stderr)
    options = RunOptions(device=given.device, dtype=given.dtype, batch=given.batch, repeats=given.repeats)
    executor = None
    if given.executor == "ray":
        from evaluation.cluster import RayExecutor

        executor = RayExecutor(given.ray_address, given.ray_workers)
    bar = ProgressLine(lang)
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

    about = T("Оценить строки reference/hypothesis.", "Score lines of reference/hypothesis.")
    parser = make_parser(lang, " score", about)
    parser.add_argument("file", type=Path)
    parser.add_argument("--level", choices=LEVELS, default="L2")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    if not given.file.is_file():
        advice = T("Проверьте путь к файлу.", "Check the path of the file.")
        raise MissingFile(file=given.file.name, detail=T("файл со строками", "the file of lines"), advice=advice)
    scores = score_pairs(read_pairs(given.file), given.level)
    if given.json:
        print_json(scores, indent=1)
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

    about = T("Отчёт заново по готовым предсказаниям.", "The report again from predictions.")
    parser = make_parser(lang, " report", about)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--level", choices=LEVELS, default="L2")
    parser.add_argument("--skip-bad", action="store_true")
    given = parser.parse_args(arguments)
    if not (given.output / "run.json").is_file():
        advice = T("Укажите папку, в которую писал прогон.", "Name the folder that a run has written to.")
        detail = T("в этой папке нет прогона", "there is no run in this folder")
        raise MissingFile(file="run.json", detail=detail, advice=advice)
    manifest = read_manifest(given.manifest, skip_bad=given.skip_bad)
    _, page = report_again(manifest, given.output, lang=given.lang, level=given.level)
    print(T(f"Отчёт: {page}", f"Report: {page}").get(lang))
    return 0


def import_command(arguments: Sequence[str], lang: str) -> int:
    """KIND SOURCE OUTPUT.jsonl"""
    parser = make_parser(lang, " import", T("Сделать манифест из чужого корпуса.", "Make a manifest of a corpus."))
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
    parser = make_parser(lang, " who", about)
    parser.add_argument("source", type=Path)
    parser.add_argument("--model", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--reference", default="")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--batch", type=positive)
    parser.add_argument("--level", choices=LEVELS, default="L2")
    parser.add_argument("--skip-bad", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    models = list(named(given.model).values())
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
        print_json(asdict(report))
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
