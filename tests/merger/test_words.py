"""What people read: recipes in words, numbers, languages, progress, errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from merger.bilingual import byte_size, number, percent, preferred_language
from merger.console import ProgressBar
from merger.disk import Progress
from merger.errors import Fault, IncompatibleModels, WhisperMergeError
from merger.recipe import MergeRecipe


def test_sentences_in_plain_words() -> None:
    space = "\u00a0"
    seventy = MergeRecipe.build("direct", {"direct_alpha": 0.7}).sentence("ru")
    assert seventy == f"70{space}%{space}A + 30{space}%{space}B"
    assert MergeRecipe.build("direct", {"direct_alpha": 1}).sentence("en", "Rus", "Pod") == f"100%{space}Rus"
    given = {"ties_density": 0.85, "decoder_weights": [0.5, 0.5]}
    assert MergeRecipe.build("ties", given).sentence("ru").replace(space, " ") == (
        "TIES: кодировщик 60 % A + 40 % B, декодер 50 % A + 50 % B, плотность 0,85"
    )


def test_a_sentence_names_every_source_that_takes_part() -> None:
    three = MergeRecipe.build("linear", {"weights": [0.5, 0.25, 0.25]})
    space = "\u00a0"
    assert three.sentence("en", "X", "Y", None, ["Z"]).endswith(f"50%{space}X + 25%{space}Y + 25%{space}Z")
    assert three.sentence("en", "X", "Y").endswith(f"25%{space}C"), "a source without a name has its letter"
    assert MergeRecipe.build("linear").sentence("en", "X", "Y", None, ["Z"]).endswith("equal (X, Y, Z)")
    assert "Z" not in MergeRecipe.build("direct").sentence("en", "X", "Y", None, ["Z"])


def test_a_method_without_a_base_does_not_name_one() -> None:
    def words(method: str) -> str:
        return MergeRecipe.build(method).sentence("en", "A", "B", base_name="Base")

    assert "Base" not in words("linear")
    assert "from the base Base" in words("task-arithmetic")


def test_numbers_read_naturally() -> None:
    assert (number(0.85, "ru"), number(2.0, "en")) == ("0,85", "2")
    assert (percent(0.3, "ru"), percent(1 / 3, "en")) == ("30\u00a0%", "33.3333%")
    assert (byte_size(999, "en"), byte_size(3_090_000_000, "ru")) == ("999\u00a0B", "3,1\u00a0ГБ")
    assert byte_size(999_960, "en") == "1.0\u00a0MB"


@pytest.mark.parametrize(
    ("environment", "lang"),
    [
        ({}, "ru"),
        ({"LANG": "en_US.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "ru"),
        ({"LC_ALL": "ru_RU.UTF-8", "LANG": "en_US.UTF-8"}, "ru"),
        ({"LC_ALL": "", "LC_MESSAGES": "en_GB", "LANG": "ru_RU"}, "en"),
        ({"WHISPER_MERGE_LANG": "en", "LC_ALL": "ru_RU.UTF-8"}, "en"),
    ],
)
def test_language_of_the_locale(environment: dict[str, str], lang: str) -> None:
    assert preferred_language(environment) == lang


def test_progress_bar_shows_rate_and_remaining_time() -> None:
    line = ProgressBar("ru").line(Progress("merging", 1_000_000_000, 4_000_000_000), 2.0)
    shown = "слияние  25% [#####···············] 1,0 ГБ из 4,0 ГБ, 500,0 МБ/с, осталось 6 с"
    assert line.replace("\u00a0", " ") == shown
    english = ProgressBar("en").line(Progress("merging", 4_000_000_000, 4_000_000_000), 2.0)
    assert english.endswith("2.0\u00a0GB/s, 0 s left")


def error_classes(root: type[WhisperMergeError]) -> Iterator[type[WhisperMergeError]]:
    for kind in root.__subclasses__():
        yield kind
        yield from error_classes(kind)


OWN_ERRORS = [each for each in error_classes(WhisperMergeError) if each.__module__ == "merger.errors"]


@pytest.mark.parametrize("kind", OWN_ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_both_languages_and_survives_pickling(kind: type[WhisperMergeError]) -> None:
    import pickle

    from merger.bilingual import Text

    if issubclass(kind, IncompatibleModels):
        error: WhisperMergeError = kind(mismatches=[Fault(Text("а", "a"), Text("б", "b"))])
    elif kind.code in {"ERROR", "BAD_PARAMETER", "BAD_RECIPE"} and kind.__init__ is not WhisperMergeError.__init__:
        error = kind(faults=[Fault(Text("а", "a"), Text("б", "b"))])
    else:
        error = kind(file="f", detail=Text("д", "d"), path="p", files=["x"], needed="1", free="0", device="cpu",
                     model="m", method="x", tensors=["t"], index="i", expected=2, found=1, size="2",
                     limit="1")  # fmt: skip
    for lang in ("ru", "en"):
        told = error.to_json(lang)
        assert told["code"] == kind.code and told["sentence"] and told["remedy"]
        assert "{" not in told["sentence"] + told["remedy"]
    assert error.sentence("ru") != error.sentence("en")
    assert pickle.loads(pickle.dumps(error)).to_json("ru") == error.to_json("ru")
