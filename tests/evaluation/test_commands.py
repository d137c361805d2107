"""`python -m evaluation` as a user calls it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from evaluation.__main__ import main
from evaluation.arguments import read_recipe
from tests.conftest import TinyPair
from tests.evaluation.trio import write_corpus


def lines(path: Path, *pairs: Any) -> Path:
    text = "\n".join(p if isinstance(p, str) else json.dumps({"reference": p[0], "hypothesis": p[1]}) for p in pairs)
    path.write_text(text, encoding="utf-8")
    return path


def test_score_pools(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(
        tmp_path / "x.jsonl",
        ("раз", "два"),
        ("а б в г д е ж з и", "а б в г д е ж з и"),
        ("", "Субтитры сделал DimaTorzok"),
    )
    assert main(["score", str(path), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["wer"] == pytest.approx(0.10)
    assert (scores["substitutions"], scores["deletions"], scores["insertions"], scores["reference_words"]) == (
        1,
        0,
        0,
        10,
    )
    assert (scores["hallucination"], scores["cases"]["lexical"], scores["normalizer"]) == (1, 1, "ru-2026.1")
    third = scores["lines"][2]
    assert (third["wer"], third["cer"], third["insertions"], third["hallucination"]) == (None, None, 3, 1)
    assert scores["lines"][0]["wer"] == 1.0


def test_score_levels_and_plain_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = lines(tmp_path / "x.jsonl", ("Привет, мир!", "привет мир"))
    wers = {}
    for level in ("L0", "L1", "L2", "L3"):
        assert main(["score", str(path), "--level", level, "--json"]) == 0
        wers[level] = json.loads(capsys.readouterr().out)["wer"]
    assert wers == {"L0": 1.0, "L1": 0.0, "L2": 0.0, "L3": 0.0}
    assert main(["score", str(path)]) == 0
    assert capsys.readouterr().out.startswith("WER 0.00%   CER 0.00%   S 0 D 0 I 0   N 2")


@pytest.mark.parametrize("lang", ["ru", "en"])
def test_bad_lines_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], lang: str) -> None:
    path = lines(tmp_path / "x.jsonl", ("а", "б"), "{", '{"reference": "а"}')
    assert main(["score", str(path), "--json", "--lang", lang]) == 2
    out, err = capsys.readouterr()
    assert {"ru": "Строка 2", "en": "Line 3"}[lang] in err and "Traceback" not in err
    assert json.loads(out)["error"]["code"] == "BAD_MANIFEST"


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (["score", "none.jsonl"], 1, "MISSING_FILE"),
        (["score"], 2, "BAD_PARAMETER"),
        (["none.jsonl", "--model", "a=none", "--output", "out"], 1, "MISSING_FILE"),
        (["none.jsonl", "--output", "out"], 2, "BAD_PARAMETER"),
        (["x.jsonl", "--output", "out", "--merge", "none.json"], 1, "MISSING_FILE"),
        (["x.jsonl", "--output", "out", "--batch", "0"], 2, "BAD_PARAMETER"),
        (["x.jsonl", "--output", "out", "--model", "a=x", "--model", "a=y"], 2, "BAD_PARAMETER"),
        (["report", "x.jsonl", "--output", "out"], 1, "MISSING_FILE"),
        (["import", "folder", "none", "out.jsonl"], 2, "BAD_MANIFEST"),
        (["who", "x.jsonl"], 2, "BAD_PARAMETER"),
        (["--nonsense"], 2, "BAD_PARAMETER"),
    ],
)
def test_mistakes_get_one_coded_sentence(
    arguments: list[str], status: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == status
    err = capsys.readouterr().err
    assert code in err and "Traceback" not in err and len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_help_in_both_languages(capsys: pytest.CaptureFixture[str]) -> None:
    for lang, word in (("ru", "манифест JSONL"), ("en", "JSONL manifest")):
        with pytest.raises(SystemExit) as stop:
            main(["--lang", lang, "--help"])
        assert stop.value.code == 0 and word in capsys.readouterr().out


def test_import_run_report_who(tmp_path: Path, trio: TinyPair, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, output = write_corpus(tmp_path, clips=3), tmp_path / "out"
    (tmp_path / "t.json").write_text('{"method": "direct"}')
    models = ["--model", f"a={trio.a}", "--model", f"b={trio.b}"]
    command = [str(manifest), *models, "--merge", str(tmp_path / "t.json"), "--output", str(output), "--device", "cpu"]
    assert main([*command, "--repeats", "1", "--json", "--lang", "en"]) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert outcome["ok"] and Path(outcome["report"]).is_file()
    assert {cell["system"] for cell in outcome["cells"] if cell["section"] == "overall"} == {"a", "b", "t"}
    assert main([*command, "--lang", "ru"]) == 2  # predictions are there already
    assert main([*command, "--resume", "--repeats", "1"]) == 0
    assert main(["report", str(manifest), "--output", str(output), "--level", "L1", "--lang", "ru"]) == 0
    page = (output / "report.html").read_text(encoding="utf-8")
    assert '<html lang="ru">' in page and "data:audio/mpeg;base64," in page
    capsys.readouterr()
    assert main(["who", str(manifest), *models, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    wer = found["splits"]["wer"]
    assert wer["encoder"]["value"] + wer["decoder"]["value"] == pytest.approx(wer["total"]["value"])
    assert found["texts"]["clip0"].keys() == {"aa", "ab", "ba", "bb"}
    assert main(["who", str(tmp_path / "clip0.wav"), *models, "--device", "cpu"]) == 0
    assert "ab:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["m.jsonl"], "не указано: --output"),
        (["m.jsonl", "--output", "o", "--batch", "0"], "--batch: нужно целое от 1, а не «0»"),
        (["m.jsonl", "--output", "o", "--repeats", "-1"], "--repeats: нужно целое от 0, а не «-1»"),
        (["m.jsonl", "--output", "o", "--level", "L9"], "--level: нет значения 'L9'; есть 'L0', 'L1', 'L2', 'L3'"),
        (["m.jsonl", "--output"], "у --output нет значения"),
        (["m.jsonl", "--output", "o", "--nonsense"], "незнакомо: --nonsense"),
        (["score", "none.jsonl"], "Проверьте путь к файлу."),
        (["report", "m.jsonl", "--output", "o"], "Укажите папку, в которую писал прогон."),
    ],
)
def test_mistakes_are_told_in_russian(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*arguments, "--lang", "ru"]) != 0
    err = capsys.readouterr().err
    assert words in err and not re.search("argument|required|choose|expected", err)


def test_the_recipe_of_a_merged_folder_is_a_recipe(tmp_path: Path) -> None:
    merged = tmp_path / "our-mix"
    merged.mkdir()
    (merged / "recipe.json").write_text('{"format": "whisper-merge/2", "recipe": {"method": "slerp"}}')
    (tmp_path / "by-hand.yaml").write_text("method: ties")
    assert [read_recipe(str(path))[0] for path in (merged / "recipe.json", tmp_path / "by-hand.yaml")] == [
        "our-mix", "by-hand",
    ]  # fmt: skip
    name, recipe = read_recipe(f"mine={merged / 'recipe.json'}")
    assert (name, recipe.method) == ("mine", "slerp")


def test_a_report_that_cannot_be_written(tmp_path: Path, trio: TinyPair, capsys: pytest.CaptureFixture[str]) -> None:
    manifest, taken = write_corpus(tmp_path, clips=1), tmp_path / "taken"
    taken.write_text("a file")
    for output in (taken, taken / "inside"):
        assert main([str(manifest), "--model", f"a={trio.a}", "--output", str(output), "--repeats", "0"]) == 1
        assert "OUTPUT_NOT_WRITABLE" in capsys.readouterr().err
