"""What the registered metrics count, worked out by hand; contracts that hold for every one of them."""

import pytest

from evaluation.metrics import figures, measure, metrics
from evaluation.metrics.cases import confusion, nominal_forms
from evaluation.metrics.registry import Line
from evaluation.metrics.stress_spelling import stress_positions, vowel_swaps
from evaluation.scores import compare


def line(reference: str, hypothesis: str, audio: float = 0.0, wall: float = 0.0) -> Line:
    return Line(**vars(compare(reference, hypothesis)), audio_seconds=audio, seconds_wall=wall)


def figure(key: str, *lines: Line) -> float | None:
    pooled: dict[str, float] = {}
    for one in lines:
        for name, value in measure(one).items():
            pooled[name] = pooled.get(name, 0) + value
    return figures()[key].of(pooled)


def test_all_six_are_found_in_order() -> None:
    assert list(metrics()) == ["wer", "cer", "cases", "stress_spelling", "hallucination", "speed"]


@pytest.mark.parametrize("name", metrics())
def test_contract(name: str) -> None:
    metric = metrics()[name]
    counts = metric.measure(line("нет стола, всё", "нет столу все да", 2.0, 0.5))
    for one in metric.figures:
        assert {one.numerator, one.denominator} <= counts.keys()
        assert one.title.ru and one.title.en
    empty = metric.measure(line("", "да"))
    assert {key for key in empty if ":" not in key} == {key for key in counts if ":" not in key}
    assert all(value >= 0 for value in [*counts.values(), *empty.values()])
    others = {key for other in metrics().values() if other.name != name for key in other.measure(line("а", "б"))}
    assert others.isdisjoint(counts)


def test_a_perfect_transcript_has_no_errors_and_silence_is_undefined() -> None:
    perfect, silent = line("Всё хорошо.", "Всё хорошо.", 2.0, 0.5), line("", "")
    for key, one in figures().items():
        value = figure(key, perfect)
        assert value in ({None, 1.0, 4.0} if one.better == "higher" else {None, 0.0}), key
        assert figure(key, silent) in {None, 0.0}
    assert (figure("wer", perfect), figure("yo_recall", perfect), figure("rtfx", perfect)) == (0.0, 1.0, 4.0)


def test_pooling_guard() -> None:
    assert figure("wer", line("раз", "два"), line("а б в г д е ж з и", "а б в г д е ж з и")) == pytest.approx(0.10)


def test_empty_references_are_left_out_of_wer_and_counted_as_hallucination() -> None:
    lines = [line("", "Субтитры сделал DimaTorzok"), line("да да", "да")]
    assert (figure("wer", *lines), figure("cer", *lines)) == (0.5, 0.6)
    assert (figure("clips_hallucinated", *lines), figure("no_speech_written", *lines)) == (0.5, 1.0)
    assert figure("clips_looped", line("спасибо", "спасибо " * 6)) == 1.0


def test_case_error_is_an_interval() -> None:
    # Case-bearing words: стола, дом, рубля. One certain case, one ambiguous, one number.
    lines = [line("нет стола", "нет столу"), line("вот дом", "вот дома"), line("рубля", "рублей")]
    assert (figure("case_error_low", *lines), figure("case_error_high", *lines)) == (1 / 3, 2 / 3)
    assert figure("number_error", *lines) == 1 / 3


def test_case_confusion_only_from_unambiguous_pairs() -> None:
    assert confusion("столом", "столов") == ("ablt", "gent")
    assert confusion("рублями", "рублям") == ("ablt", "datv")
    assert confusion("москве", "москву") is None  # «Москве» is dative or locative
    assert confusion("кот", "кит") is None
    counts = measure(line("рублями", "рублям"))
    assert counts["confusion:ablt>datv"] == 1


def test_second_cases_fold_into_the_main_ones() -> None:
    assert {case for case, _ in nominal_forms("лесу")["лес", "NOUN"]} == {"datv", "gent", "loct"}
    assert {case for case, _ in nominal_forms("чаю")["чай", "NOUN"]} == {"datv", "gent", "loct"}
    assert nominal_forms("живет") == {}


def test_yo_recall() -> None:
    assert figure("yo_recall", line("Всё ещё идёт дождь.", "Все еще идет дождь")) == 0.0
    assert figure("yo_recall", line("Всё ещё идёт дождь.", "всё ещё идет")) == 2 / 3
    assert figure("yo_recall", line("Мел", "мёл")) is None


def test_stress_positions() -> None:
    assert stress_positions("За́мок, ёлка и дом у молока") == {"замок": 1, "елка": 0, "и": 0, "дом": 1, "у": 0}
    assert stress_positions("за́мок и замо́к")["замок"] is None
    assert stress_positions("за́мок и за́мок")["замок"] == 1


@pytest.mark.parametrize(
    ("reference", "hypothesis", "places"),
    [("молоко", "малако", [1, 3]), ("лес", "лис", [1]), ("кот", "код", None), ("дом", "дома", None)],
)
def test_vowel_swaps(reference: str, hypothesis: str, places: list[int] | None) -> None:
    assert vowel_swaps(reference, hypothesis) == places


def test_vowels_by_stress() -> None:
    counts = measure(line("молоко́ лес вода", "малоке лис вада"))
    assert (counts["vowels_unstressed"], counts["vowels_stressed"], counts["vowels_unknown"]) == (1, 2, 1)
    assert counts["spoken_words"] == 3


def test_leaked_marks() -> None:
    assert figure("marks_leaked", line("замок стоит", "за́мок стои́т")) == 1.0


def test_speed_pools_seconds() -> None:
    assert figure("rtfx", line("а", "а", 30.0, 1.0), line("а", "а", 10.0, 3.0)) == 10.0
    assert figure("rtfx", line("а", "а", 30.0, 0.0)) is None
