"""What the command line shows: help, a progress bar, the closing lines."""

from __future__ import annotations

import io
import json
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from typing import Any, TextIO

from merger.bilingual import Text, byte_size, number
from merger.disk import MergeReport, Progress
from merger.errors import WhisperMergeError
from merger.flags import FLAGS, SWITCHES
from merger.registry import ParameterSpec, methods

STAGE_NAMES = {
    "checking": Text("проверка", "checking"),
    "merging": Text("слияние", "merging"),
    "syncing": Text("запись на диск", "writing to disk"),
    "sidecars": Text("словарь и настройки", "tokenizer and settings"),
    "verifying": Text("проверка результата", "verifying"),
    "committing": Text("готово к замене", "ready"),
    "committed": Text("на месте", "in place"),
    "done": Text("готово", "done"),
}
QUIET_SECONDS = 5.0


def escape_unencodable() -> None:
    """From now on write as an escape what a terminal's encoding lacks: a merge that is done must not fail in words."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def print_json(value: Any, indent: int | None = None) -> None:
    """A line of JSON, in ASCII where the stream is not UTF-8, whose own escapes are no JSON. Half a surrogate pair, out
    of a damaged file, is written as JSON's escape too: it is no UTF-8."""
    plain = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=plain, indent=indent)
    print(text.encode("utf-8", "backslashreplace").decode("utf-8"))


class ProgressBar:
    """Stage, share, rate and remaining time on one line of a terminal; elsewhere a line now and then."""

    def __init__(self, lang: str, stream: TextIO = sys.stderr) -> None:
        self._lang, self._stream = lang, stream
        self._terminal = stream.isatty()
        self._started = time.monotonic()
        self._shown = self._started if not self._terminal else 0.0
        self._finished = False

    def __call__(self, progress: Progress) -> None:
        """Show where a merge stands; cheap enough to be called often."""
        now = time.monotonic()
        last = progress.stage == "done"
        if self._finished or (not last and now - self._shown < (0.1 if self._terminal else QUIET_SECONDS)):
            return
        self._shown, self._finished = now, last
        line = self.line(progress, max(now - self._started, 1e-6))
        if self._terminal:
            width = shutil.get_terminal_size().columns
            self._stream.write("\r\x1b[K" + line[: width - 1] + ("\n" if last else ""))
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def line(self, progress: Progress, elapsed: float) -> str:
        """`слияние  45 % [#########···········] 1,4 ГБ из 3,1 ГБ, 1,3 ГБ/с, осталось 2 с`."""
        share = progress.done_bytes / progress.total_bytes if progress.total_bytes else 1.0
        rate = progress.done_bytes / elapsed
        left = (progress.total_bytes - progress.done_bytes) / rate if rate else 0.0
        bar = "#" * int(share * 20)
        sizes = [byte_size(round(count), self._lang) for count in (progress.done_bytes, progress.total_bytes, rate)]
        stage = STAGE_NAMES[progress.stage].get(self._lang)
        tail = Text(
            f"{sizes[0]} из {sizes[1]}, {sizes[2]}/с, осталось {left:.0f} с",
            f"{sizes[0]} of {sizes[1]}, {sizes[2]}/s, {left:.0f} s left",
        ).get(self._lang)
        return f"{stage} {share:4.0%} [{bar:·<20}] {tail}"

    def close(self) -> None:
        """Leave the cursor on a fresh line."""
        if self._terminal and not self._finished and self._shown:
            self._stream.write("\n")
            self._stream.flush()


def error_text(error: WhisperMergeError, lang: str) -> str:
    """`Ошибка BAD_PARAMETER: sentence remedy`."""
    word = Text("Ошибка", "Error").get(lang)
    return f"{word} {error.code}: {error.sentence(lang)} {error.remedy(lang)}".rstrip()


def report_text(report: MergeReport, lang: str, names: Sequence[str], base: str | None) -> str:
    """The closing line of one output, and its warnings. names: those of the models, at least two."""
    sentence = report.recipe.sentence(lang, names[0], names[1], base, names[2:])
    size, rate = byte_size(report.nbytes, lang), byte_size(round(report.nbytes / max(report.seconds, 1e-6)), lang)
    lines = [
        Text(
            f"Готово: {sentence} → {report.folder} ({size}, {rate}/с)",
            f"Done: {sentence} → {report.folder} ({size}, {rate}/s)",
        ).get(lang)
    ]
    lines += [Text("  Внимание: ", "  Note: ").get(lang) + warning.get(lang) for warning in report.warnings]
    if report.angles and "median" in report.angles:
        angles = report.angles
        spread = " … ".join(number(float(f"{angles[key]:.2g}"), lang) for key in ("least", "median", "largest"))
        words = Text(
            f"  Угол между моделями по тензорам, рад: {spread}; линейно смешано: {angles['linear']:.0f}.",
            f"  Angle between the models per tensor, rad: {spread}; mixed linearly: {angles['linear']:.0f}.",
        )
        lines.append(words.get(lang))
        if angles["largest"] < 0.3:
            close = Text(
                "  Модели близки: по дуге и по прямой выходит почти одно и то же.",
                "  The models are close: the arc and the straight line give almost the same.",
            )
            lines.append(close.get(lang))
    return "\n".join(lines)


def _item(left: str, right: str) -> str:
    return "\n".join(
        textwrap.wrap(
            right, 112, initial_indent=f"  {left:<28} ", subsequent_indent=" " * 31, break_on_hyphens=False,
        )
    )  # fmt: skip


def _parameter(declared: ParameterSpec, lang: str) -> str:
    control = declared.control
    default = Text("по умолчанию", "default").get(lang)
    limits = f"{control.range_text().get(lang)}; {default} {control.to_flag(declared.default)}"
    return _item(declared.flag, f"{control.label.get(lang)}: {limits}. {control.help.get(lang)}")


def help_text(lang: str) -> str:
    """The whole help, made from the registry."""
    title = Text(
        "Слияние двух и более моделей Whisper.\n\n"
        "  python -m merger [merge] --model-a ПУТЬ --model-b ПУТЬ --output-dir ПУТЬ [ключи]\n"
        "  python -m merger methods [--json]            все методы и их параметры\n"
        "  python -m merger explain A B [--base S]      чем модели различаются\n"
        "  python -m merger verify ПАПКА                цел ли результат и тот ли рецепт",
        "Merge two or more Whisper models.\n\n"
        "  python -m merger [merge] --model-a PATH --model-b PATH --output-dir PATH [flags]\n"
        "  python -m merger methods [--json]            all methods and their parameters\n"
        "  python -m merger explain A B [--base S]      where the models differ\n"
        "  python -m merger verify FOLDER               is a result whole and true to its recipe",
    ).get(lang)
    blocks = [title, Text("Ключи:", "Flags:").get(lang)]
    blocks += [_item(f"{flag} {value}", words.get(lang)) for flag, (value, words) in FLAGS.items()]
    blocks += [_item(flag, words.get(lang)) for flag, words in SWITCHES.items()]
    for spec in methods().values():
        base = Text(" Нужна базовая модель (--base).", " Needs the base model (--base).") if spec.needs_base else None
        blocks.append(f"\n{spec.name} — {spec.title.get(lang)}")
        words = spec.summary.get(lang) + (base.get(lang) if base else "")
        blocks.append(textwrap.fill(words, 112, initial_indent="  ", subsequent_indent="  "))
        blocks += [_parameter(declared, lang) for declared in spec.parameters]
    blocks.append(
        Text(
            '\nПример: python -m merger --method ties --ties-density 0.85 --encoder-weights "0.6,0.4" '
            '--decoder-weights "0.5,0.5" \\\n            --model-a models/a --model-b models/b --output-dir merged',
            '\nExample: python -m merger --method ties --ties-density 0.85 --encoder-weights "0.6,0.4" '
            '--decoder-weights "0.5,0.5" \\\n            --model-a models/a --model-b models/b --output-dir merged',
        ).get(lang)
    )
    return "\n".join(blocks)


def methods_table(lang: str) -> str:
    """All methods as a Markdown table: name, what it does, parameters with range and default, source."""
    heads = Text(
        "| метод | что делает | параметры | источник |", "| method | what it does | parameters | source |"
    ).get(lang)
    rows = [heads, "| --- | --- | --- | --- |"]
    for spec in methods().values():
        parameters = "<br>".join(
            f"`{own.flag}` {own.control.range_text().get(lang)} ({own.control.to_flag(own.default)})"
            for own in spec.parameters
        )
        base = Text("; нужна база", "; needs the base").get(lang) if spec.needs_base else ""
        source = spec.paper or Text("руководство" if spec.guide else "—", "the guide" if spec.guide else "—").get(lang)
        summary = spec.summary.get(lang)
        rows.append(f"| `{spec.name}` | {summary} | {parameters} | {source}{base} |")
    return "\n".join(rows)
