"""Builds the training text: documents from Debian packages and sentences of the project's grammar.

    python -m demo.text.build_corpus --out DIR [--cache DIR] [--grammar-sentences N] [--drill-sentences N] [--seed N]

Needs a Debian system (apt-get, dpkg-deb) with network to Debian's package mirror, pymorphy3 and num2words. Nothing is
installed: packages are downloaded into the cache folder and read in place. Writes, one sentence per line in UTF-8:

- ``train_formal.txt``, ``train_colloquial.txt``: documents and grammar, shuffled;
- ``heldout_documents.txt``: one package that is in neither of them;
- ``sources.json``: package, version, licence and number of sentences of every source.

Lines equal to a sentence of the project's test material (``test_*.txt``, ``heldout_300.txt``, ``samples.jsonl``) are
removed from the training text, compared without case and punctuation.
"""

import argparse
import json
import random
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from demo.text.cleaning import WORD, sentences
from demo.text.drill import drill, vocabulary
from demo.text.extract import READERS, members
from demo.text.grammar import Grammar
from demo.text.sources import SOURCES, Source

HERE = Path(__file__).parent
STYLES = ("formal", "colloquial")


def key(sentence: str) -> str:
    """What two sentences share when they sound the same: lower case, no punctuation, ё as е."""
    return " ".join(WORD.findall(sentence.lower().replace("ё", "е")))


def test_keys(folder: Path = HERE) -> set[str]:
    """Keys of every sentence that is kept for testing and must not be trained on."""
    texts: list[str] = []
    for name in ("test_formal.txt", "test_colloquial.txt", "heldout_300.txt"):
        texts += (folder / name).read_text(encoding="utf-8").splitlines()
    for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines():
        sample = json.loads(line)["text"]
        texts += [sample, *re.split(r"(?<=[.!?])\s+", sample)]
    return {key(text) for text in texts}


def download(packages: Iterable[str], cache: Path) -> dict[str, Path]:
    """Archive of each package in ``cache``, downloading what is missing; raises ``RuntimeError`` if apt cannot."""
    cache.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for package in packages:
        archive = _archive(package, cache)
        if archive is None:
            run = subprocess.run(
                ["apt-get", "download", package], cwd=cache, capture_output=True, text=True, check=False
            )
            archive = _archive(package, cache)
            if archive is None:
                raise RuntimeError(f"apt-get could not download {package}: {run.stderr.strip()}")
        found[package] = archive
    return found


def _archive(package: str, cache: Path) -> Path | None:
    return max(cache.glob(f"{package}_*.deb"), default=None)


def document_sentences(source: Source, archive: Path) -> list[str]:
    """Distinct clean sentences of one package in the order of its files."""
    found: dict[str, str] = {}
    for reader, pattern in source.files:
        for _, data in members(archive, pattern):
            for text in READERS[reader](data):
                for sentence in sentences(text):
                    found.setdefault(key(sentence), sentence)
    return list(found.values())


def _add(lines: Iterable[str], texts: dict[str, str], forbidden: set[str]) -> int:
    """Puts the new ones of ``lines`` into ``texts`` by key, marks their keys as taken and returns their number."""
    before = len(texts)
    for line in lines:
        k = key(line)
        if k not in forbidden:
            forbidden.add(k)
            texts[k] = line
    return len(texts) - before


def build(out: Path, cache: Path, grammar_sentences: int, drill_sentences: int, seed: int) -> dict[str, object]:
    """Writes the corpus into ``out`` and returns the contents of ``sources.json``."""
    out.mkdir(parents=True, exist_ok=True)
    archives = download([source.package for source in SOURCES], cache)
    forbidden = test_keys()
    texts: dict[str, dict[str, str]] = {"heldout": {}, "formal": {}, "colloquial": {}}
    report: list[dict[str, object]] = []
    # The held-out source goes first so that a sentence it shares with another package is not trained on.
    for source in sorted(SOURCES, key=lambda s: s.style != "heldout"):
        archive = archives[source.package]
        kept = _add(document_sentences(source, archive), texts[source.style], forbidden)
        version = archive.name.split("_")[1].replace("%3a", ":")
        row = {"package": source.package, "version": version, "licence": source.licence, "style": source.style}
        report.append({**row, "sentences": kept})
        print(f"{source.package}: {kept}", file=sys.stderr)
    words = vocabulary([*texts["formal"].values(), *texts["colloquial"].values()])
    for style in STYLES:
        made = {
            "the project's grammar": Grammar(style, seed).generate(grammar_sentences),
            "the project's vocabulary drill": drill(words, style, drill_sentences, seed),
        }
        for name, lines in made.items():
            kept = _add(lines, texts[style], forbidden)
            row = {"package": name, "version": f"seed {seed}", "licence": "Apache-2.0", "style": style}
            report.append({**row, "sentences": kept})
    totals = {}
    for style, name in (
        ("formal", "train_formal"),
        ("colloquial", "train_colloquial"),
        ("heldout", "heldout_documents"),
    ):
        lines = list(texts[style].values())
        random.Random(seed).shuffle(lines)
        (out / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        totals[name] = len(lines)
    summary = {"totals": totals, "sources": report}
    (out / "sources.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return summary


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(
        description="Build the demo pair's training text from Debian packages and the grammar."
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the text files")
    parser.add_argument("--cache", type=Path, help="folder for the downloaded packages (default: OUT/packages)")
    parser.add_argument(
        "--grammar-sentences", type=int, default=60_000, help="grammar sentences per style (default 60000)"
    )
    parser.add_argument("--drill-sentences", type=int, default=20_000, help="drill sentences per style (default 20000)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        cache = args.cache or args.out / "packages"
        summary = build(args.out, cache, args.grammar_sentences, args.drill_sentences, args.seed)
    except RuntimeError as error:
        print(f"build_corpus: {error}", file=sys.stderr)
        return 1
    print(json.dumps(summary["totals"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
