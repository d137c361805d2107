"""Both languages say everything, and say it in their own letters."""

import re
from pathlib import Path

import pytest

from ui import components
from ui.texts import texts
from ui.worker import FINISHED

SCRIPTS = sorted(components.FOLDER.glob("*.js"))
LATIN = re.compile(r"[A-Za-z]{2,}")
# Names that Russian writes in Latin letters too.
NAMES = {
    "whisper", "merge", "Whisper", "WER", "CER", "Hugging", "Face", "Hub", "JSON", "SLERP", "TIES", "Direct", "https",
    "localhost", "Shift", "English", "Switch", "to", "name", "total", "wait", "ahead", "time", "label", "name_a",
    "name_b", "text", "low", "high", "role", "limit", "zip", "jsonl", "OGG",
    "rtfx", "recipe", "HF_TOKEN", "README", "md", "config", "fp",
}  # fmt: skip


def keys_in_scripts() -> set[str]:
    found: set[str] = set()
    for path in SCRIPTS:
        code = path.read_text(encoding="utf-8")
        found |= set(re.findall(r"\bt\(\"([\w.]+)\"\s*[,)]", code))
        for condition in re.findall(r"\bt\(([^()\"]*\? *\"[^()]*?)\)", code):
            found |= set(re.findall(r"\"([\w.]+)\"", condition.split("?", 1)[1]))
        found |= set(re.findall(r"plural\([^,]+, \"([\w.]+)\"\)", code))
    return found


def test_the_keys_are_equal() -> None:
    assert set(texts()["ru"]) == set(texts()["en"])


def test_every_key_that_a_script_names_exists() -> None:
    assert len(keys_in_scripts()) > 100
    assert keys_in_scripts() - set(texts()["ru"]) == set()


def test_every_stage_and_state_that_a_job_reports_has_words() -> None:
    said = {
        stage
        for path in components.FOLDER.parent.glob("*.py")
        for stage in re.findall(r"job\.report\(\s*\"([\w.]+)\"", path.read_text(encoding="utf-8"))
    }
    assert {"load", "listen", "export.check", "sweep"} <= said
    needed = {f"stage.{stage}" for stage in said | {"queued", "export.write", "export.verify"}}
    needed |= {f"state.{state}" for state in FINISHED}
    assert needed - set(texts()["ru"]) == set()


@pytest.mark.parametrize("key", sorted(texts()["ru"]))
def test_fields_are_the_same_in_both_languages(key: str) -> None:
    fields = [set(re.findall(r"\{(\w+)\}", texts()[lang][key])) for lang in ("ru", "en")]
    assert fields[0] == fields[1]
    assert texts()["ru"][key].strip() and texts()["en"][key].strip()


def test_no_english_is_left_in_the_russian_page() -> None:
    odd = {
        key: words
        for key, text in texts()["ru"].items()
        if (words := [word for word in LATIN.findall(re.sub(r"\{\w+\}", "", text)) if word not in NAMES])
    }
    assert odd == {}


def test_no_russian_is_left_in_the_english_page() -> None:
    odd = {key for key, text in texts()["en"].items() if re.search(r"[а-яё]", text, re.IGNORECASE)}
    assert odd == {"lang.other"}  # the one place that speaks to a reader of the other language


def test_no_script_builds_html_from_strings() -> None:
    for path in SCRIPTS:
        code = path.read_text(encoding="utf-8")
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert word not in code.replace("assigns innerHTML", ""), f"{path.name}: {word}"


def test_the_page_asks_no_other_host_for_anything() -> None:
    for path in (*SCRIPTS, *components.FOLDER.glob("*.css")):
        addresses = re.findall(r"https?://[^\s\"'`)]+", path.read_text(encoding="utf-8"))
        assert set(addresses) <= {"http://www.w3.org/2000/svg"}, path.name


def test_the_head_holds_one_style_and_one_script() -> None:
    head = components.head()
    assert head.count("<script>") == head.count("</script>") == 1
    assert head.count("<style>") == head.count("</style>") == 1
    assert Path(components.FOLDER / "bus.js").read_text(encoding="utf-8") in head
