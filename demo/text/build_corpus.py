"""Builds the training text: documents from Debian packages and sentences of the project's grammar.

    python -m demo.text.build_corpus --out DIR [--cache DIR] [--grammar-sentences 60000] [--seed 1]

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
from demo.text.extract import READERS, members
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
    """Path of each package's archive in ``cache``, downloading what is missing; raises ``RuntimeError`` if apt cannot."""
    cache.mkdir(parents=True, exist_ok=True)
    found: dict[str, Path] = {}
    for package in packages:
        archive = _archive(package, cache)
        if archive is None:
            run = subprocess.run(["apt-get", "download", package], cwd=cache, capture_output=True, text=True, check=False)
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


def build(out: Path, cache: Path, grammar_sentences: int, seed: int) -> dict[str, object]:
    """Writes the corpus into ``out`` and returns the contents of ``sources.json``."""
    from demo.text.grammar import Grammar

    out.mkdir(parents=True, exist_ok=True)
    archives = download([source.package for source in SOURCES], cache)
    forbidden = test_keys()
    texts: dict[str, dict[str, str]] = {"heldout": {}, "formal": {}, "colloquial": {}}
    report: list[dict[str, object]] = []
    # The held-out source goes first so that a sentence it shares with another package is not trained on.
    for source in sorted(SOURCES, key=lambda s: s.style != "heldout"):
        archive, kept = archives[source.package], 0
        for sentence in document_sentences(source, archive):
            k = key(sentence)
            if k not in forbidden:
                forbidden.add(k)
                texts[source.style][k] = sentence
                kept += 1
        version = archive.name.split("_")[1].replace("%3a", ":")
        row = {"package": source.package, "version": version, "licence": source.licence, "style": source.style}
        report.append({**row, "sentences": kept})
        print(f"{source.package}: {kept}", file=sys.stderr)
    for style in STYLES:
        kept = 0
        for sentence in Grammar(style, seed).generate(grammar_sentences):
            k = key(sentence)
            if k not in forbidden:
                forbidden.add(k)
                texts[style][k] = sentence
                kept += 1
        row = {"package": "the project's grammar", "version": f"seed {seed}", "licence": "Apache-2.0", "style": style}
        report.append({**row, "sentences": kept})
    totals = {}
    for style, name in (("formal", "train_formal"), ("colloquial", "train_colloquial"), ("heldout", "heldout_documents")):
        lines = list(texts[style].values())
        random.Random(seed).shuffle(lines)
        (out / f"{name}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        totals[name] = len(lines)
    summary = {"totals": totals, "sources": report}
    (out / "sources.json").write_text(json.dumps(summary, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return summary


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description="Build the demo pair's training text from Debian packages and the grammar.")
    parser.add_argument("--out", type=Path, required=True, help="folder for the text files")
    parser.add_argument("--cache", type=Path, help="folder for the downloaded packages (default: OUT/packages)")
    parser.add_argument("--grammar-sentences", type=int, default=60_000, help="grammar sentences per style (default 60000)")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    try:
        summary = build(args.out, args.cache or args.out / "packages", args.grammar_sentences, args.seed)
    except RuntimeError as error:
        print(f"build_corpus: {error}", file=sys.stderr)
        return 1
    print(json.dumps(summary["totals"]))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
