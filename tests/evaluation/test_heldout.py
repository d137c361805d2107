"""The plan of the large held-out set, and what its conditions do to a clip; no synthesiser is needed for either."""

from collections import Counter

import numpy as np
import pytest

from demo.speech.heldout import CONDITIONS, READINGS, SNR, TEMPO, TEXTS, Reading, plan_readings, put_into
from demo.speech.voices import VOICES
from demo.text import build_corpus

SENTENCES = (TEXTS / "heldout_300.txt").read_text(encoding="utf-8").splitlines()


def test_every_voice_speaks_in_every_condition_and_no_sentence_twice() -> None:
    readings = plan_readings(SENTENCES)
    assert len(SENTENCES) >= 300 and len(readings) == READINGS * len(SENTENCES)
    assert len({reading.group for reading in readings}) == 12
    cells = Counter((reading.voice, reading.condition) for reading in readings)
    assert cells.keys() == {(voice, condition) for voice in VOICES for condition in CONDITIONS}
    assert max(cells.values()) - min(cells.values()) <= 3
    by_sentence: dict[str, set[str]] = {}
    for reading in readings:
        by_sentence.setdefault(reading.text, set()).add(reading.voice)
        assert TEMPO[0] <= reading.rate <= TEMPO[1]
        assert (reading.snr is None) == (reading.condition == "clean")
    assert {len(voices) for voices in by_sentence.values()} == {READINGS}


def test_a_seed_is_a_plan() -> None:
    assert plan_readings(SENTENCES, seed=1) == plan_readings(SENTENCES, seed=1) != plan_readings(SENTENCES, seed=2)


def test_its_sentences_are_kept_from_training() -> None:
    assert {build_corpus.key(sentence) for sentence in SENTENCES} <= build_corpus.test_keys()


@pytest.mark.parametrize("condition", CONDITIONS)
def test_conditions(condition: str) -> None:
    t = np.arange(32_000) / 16_000
    speech = (8_000 * np.sin(2 * np.pi * 1_037 * t + 0.1)).astype(np.int16)
    others = [np.random.default_rng(i).normal(0, 3_000, 20_000).astype(np.int16) for i in range(5)]
    snr = {"clean": None, "telephone": 25.0}.get(condition, 10.0)
    reading = Reading(7, "", "formal", "Irina", condition, 1.0, 1.0, snr)
    heard = put_into(reading, speech, others, seed=1)
    assert np.array_equal(heard, put_into(reading, speech, others, seed=1))
    assert heard.dtype == np.int16 and np.abs(heard).max() == pytest.approx(0.6 * 32767, abs=2)
    tone = speech / np.linalg.norm(speech)
    share = float(heard @ tone)
    rest = heard - share * tone
    measured = 20 * np.log10(share / np.linalg.norm(rest))
    if condition == "clean":
        assert measured > 60
    elif condition == "telephone":
        assert measured > 25  # the line takes some of the hiss away with the band
        spectrum = np.abs(np.fft.rfft(heard))
        assert spectrum[12_000:].max() < 0.01 * spectrum.max()  # nothing above 6 kHz
    else:
        assert measured == pytest.approx(10.0, abs=0.5) and SNR[0] <= 10.0 <= SNR[1]
