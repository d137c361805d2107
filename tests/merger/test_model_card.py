"""The card of a result: a licence only where every source names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from merger.checkpoint import open_checkpoint
from merger.disk import merge_to_folder
from tests.conftest import TinyPair
from tests.merger.merging import HALF

MIT, APACHE, NONCOMMERCIAL = "license: mit", 'license: "apache-2.0"', "license: cc-by-nc-4.0"
LISTED = "license:\n- mit\n- apache-2.0"


@pytest.mark.parametrize(
    ("cards", "licence", "told"),
    [
        ((MIT, MIT), "mit", None),
        ((APACHE, APACHE, APACHE), "apache-2.0", None),
        ((None, None), None, None),
        ((MIT, None), None, "(a: mit, b: ?)"),
        ((MIT, APACHE), None, "(a: mit, b: apache-2.0)"),
        ((MIT, MIT, NONCOMMERCIAL), None, "(a: mit, b: mit, base: cc-by-nc-4.0)"),
        ((MIT, MIT, None), None, "(a: mit, b: mit, base: ?)"),
        ((None, None, NONCOMMERCIAL), None, "(a: ?, b: ?, base: cc-by-nc-4.0)"),
        (("license: other", "license: other"), None, "(a: other, b: other)"),
        ((MIT, LISTED), None, "(a: mit, b: ?)"),
    ],
)
def test_licence_of_the_result(
    cards: tuple[str | None, ...], licence: str | None, told: str | None, tiny_pair: TinyPair, tmp_path: Path
) -> None:
    sources = {}
    for key, folder, card in zip(("a", "b", "base"), (tiny_pair.a, tiny_pair.b, tiny_pair.base), cards, strict=False):
        shutil.copytree(folder, tmp_path / key)
        if card is not None:
            (tmp_path / key / "README.md").write_text(f"---\n{card}\n---\n")
        sources[key] = open_checkpoint(tmp_path / key)
    report = merge_to_folder(HALF, sources, tmp_path / "out")
    front = (report.folder / "README.md").read_text().split("---\n")[1]
    named = [line.removeprefix("license: ") for line in front.splitlines() if line.startswith("license")]
    assert named == ([licence] if licence else [])
    if told is None:
        assert report.warnings == []
    else:
        [warning] = report.warnings
        assert told in warning.en and told in warning.ru
