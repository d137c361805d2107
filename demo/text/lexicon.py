"""Loads the readable lexicon files beside this module."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "lexicon"


def _sections(name: str) -> dict[str, list[str]]:
    """Lines of ``lexicon/<name>`` by «[section]», comments and empty lines left out."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for raw in (FOLDER / name).read_text(encoding="utf-8").splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            lines = sections.setdefault(line.strip("[]"), [])
        else:
            lines.append(line)
    return sections


@cache
def words(name: str) -> dict[str, tuple[str, ...]]:
    """Comma-separated words by section (``nouns.txt``, ``adjectives.txt``, ``names.txt``)."""
    return {
        section: tuple(dict.fromkeys(word.strip() for line in lines for word in line.split(",") if word.strip()))
        for section, lines in _sections(name).items()
    }


@cache
def phrases(name: str) -> dict[str, tuple[str, ...]]:
    """Entries by section: one per line, several on a line separated by «;» (``phrases.txt``, templates)."""
    return {
        section: tuple(dict.fromkeys(part.strip() for line in lines for part in line.split(";") if part.strip()))
        for section, lines in _sections(name).items()
    }


@cache
def groups() -> dict[str, tuple[str, ...]]:
    """Members of every group of ``groups.txt``: names of classes or groups, and words marked with «+»."""
    found: dict[str, tuple[str, ...]] = {}
    for raw in (FOLDER / "groups.txt").read_text(encoding="utf-8").splitlines():
        if raw.strip() and not raw.startswith("#"):
            name, _, members = raw.partition(":")
            found[name.strip()] = tuple(member.strip() for member in members.split(","))
    return found


@dataclass(frozen=True)
class Complement:
    """One complement of a verb: fixed words, an infinitive, or a case with a class and perhaps a preposition."""

    kind: str  # words | inf | inf_impf | np
    optional: bool
    words: str = ""
    preposition: str = ""
    case: str = ""
    group: str = ""


@cache
def verbs() -> dict[str, tuple[tuple[str, tuple[tuple[Complement, ...], ...]], ...]]:
    """For every class of subject the verbs with their frames."""
    return {
        section: tuple((infinitive.strip(), frames) for infinitive, frames in map(_verb_line, lines))
        for section, lines in _sections("verbs.txt").items()
    }


def _verb_line(line: str) -> tuple[str, tuple[tuple[Complement, ...], ...]]:
    infinitive, _, frames = line.partition(":")
    return infinitive, tuple(_frame(frame) for frame in frames.split(" / "))


def _frame(text: str) -> tuple[Complement, ...]:
    complements: list[Complement] = []
    fixed: list[str] = []

    def flush() -> None:
        if fixed:
            complements.append(Complement("words", False, words=" ".join(fixed)))
            fixed.clear()

    for token in text.split():
        optional, body = token.startswith("?"), token.lstrip("?")
        government, colon, group = body.partition(":")
        if body in {"inf", "inf_impf"}:
            flush()
            complements.append(Complement(body, optional))
        elif colon and not group.startswith("="):
            flush()
            *preposition, case = government.split("+")
            complements.append(Complement("np", optional, preposition="".join(preposition), case=case, group=group))
        elif colon:
            flush()
            *preposition, _ = government.split("+")
            fixed += [*preposition, group[1:]]
        else:
            fixed.append(body.lstrip("="))
    flush()
    return tuple(complements)
