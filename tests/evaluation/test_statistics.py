"""Intervals, Holm and verdicts against hand-worked values and a simulation with a known truth."""

import numpy as np
import pytest

from benchmarks.evaluation_coverage import coverage
from evaluation.statistics import (
    Difference,
    Interval,
    holm,
    paired_difference,
    ratio_interval,
    student,
    sufficient,
    verdict,
)

RNG = np.random.default_rng(5)
WORDS = RNG.integers(50, 150, 30).astype(float)
ERRORS = RNG.binomial(WORDS.astype(int), 0.1).astype(float)


def test_the_value_is_the_pooled_ratio() -> None:
    interval = ratio_interval(np.array([1.0, 0.0]), np.array([1.0, 9.0]))
    assert interval is not None and interval.value == 0.10


def test_width_is_that_of_the_linearised_standard_error() -> None:
    interval = ratio_interval(ERRORS, WORDS)
    assert interval is not None and interval.low is not None and interval.high is not None
    value = ERRORS.sum() / WORDS.sum()
    residuals = ERRORS - value * WORDS
    error = np.sqrt(30 / 29 * (residuals**2).sum()) / WORDS.sum()
    # ln(high / value) = q * error / value, and q lies near Student's t of 29 degrees of freedom, 2.045.
    assert np.log(interval.high / value) * value / error == pytest.approx(2.045, rel=0.08)
    assert interval.low * interval.high == pytest.approx(value**2)


def test_more_data_narrows() -> None:
    one, four = ratio_interval(ERRORS, WORDS), ratio_interval(np.tile(ERRORS, 4), np.tile(WORDS, 4))
    assert one is not None and four is not None
    assert (four.high - four.low) / (one.high - one.low) == pytest.approx(0.5, rel=0.1)  # type: ignore[operator]


def test_edges() -> None:
    assert ratio_interval(np.zeros(3), np.zeros(3)) is None
    assert ratio_interval(np.array([1.0]), np.array([4.0])) == Interval(0.25, None, None)
    assert ratio_interval(np.zeros(3), np.full(3, 100.0)) == Interval(0.0, 0.0, 0.01)
    assert ratio_interval(np.full(5, 5.0), np.full(5, 100.0)) == Interval(0.05, 0.05, 0.05)
    assert ratio_interval(np.array([1.0, 2.0, 3.0, 2.0]), np.full(4, 100.0)) == Interval(0.02, None, None)
    sparse = ratio_interval(np.array([1.0] + [0.0] * 11), np.full(12, 50.0))  # some draws hold no error at all
    assert sparse is not None and sparse.low == 0.0 and 1 / 600 < sparse.high < 0.02  # type: ignore[operator]


@pytest.mark.parametrize(("freedom", "quantile"), [(4, 2.776), (9, 2.262), (29, 2.045), (99, 1.984)])
def test_student(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, rel=0.005)


def test_a_few_unequal_blocks_do_not_blow_the_interval_up() -> None:
    words = np.array([152.0, 16, 22, 9, 40, 12, 30, 18, 25, 10, 20, 40])
    errors = np.array([45.0, 1, 0, 1, 9, 0, 3, 2, 1, 0, 5, 10])
    interval = ratio_interval(errors, words)
    assert interval is not None and 0.05 < interval.low < interval.high < 0.6  # type: ignore[operator]


def test_the_same_draws_every_time() -> None:
    assert ratio_interval(ERRORS, WORDS) == ratio_interval(ERRORS, WORDS)


def test_a_model_against_itself() -> None:
    same = paired_difference((ERRORS, WORDS), (ERRORS, WORDS))
    assert same == Difference(Interval(0.0, 0.0, 0.0), None)
    assert verdict(same, enough=True) == "indistinguishable"
    assert verdict(same, enough=False) == "insufficient"


def test_pairing_sees_what_single_intervals_cannot() -> None:
    """Each speaker is better by about one word: the single intervals overlap, the paired difference excludes 0."""
    better = np.maximum(0.0, ERRORS - RNG.integers(0, 3, 30))
    a, b = ratio_interval(ERRORS, WORDS), ratio_interval(better, WORDS)
    difference = paired_difference((ERRORS, WORDS), (better, WORDS))
    assert a is not None and b is not None and difference is not None
    assert b.high > a.low  # type: ignore[operator]
    assert difference.interval.high < 0 and difference.p < 0.01  # type: ignore[operator]
    assert difference.interval.value == pytest.approx(b.value - a.value)


def test_interval_and_p_agree() -> None:
    for shift in np.linspace(-2, 2, 9):
        other = np.maximum(0.0, ERRORS + RNG.normal(shift, 3.0, 30).round())
        found = paired_difference((ERRORS, WORDS), (other, WORDS))
        assert found is not None and found.p is not None
        excludes = found.interval.low > 0 or found.interval.high < 0  # type: ignore[operator]
        assert excludes == (found.p <= 0.0501) or found.p == pytest.approx(0.05, abs=0.001)


def test_holm_by_hand() -> None:
    # Sorted: .01 x 4 = .04, .02 x 3 = .06, .03 x 2 = .06, .04 x 1 = .04 raised to .06.
    assert holm([0.02, 0.01, 0.04, 0.03]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.01, None, 0.5]) == [0.02, None, 0.5]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def difference(value: float, adjusted: float | None) -> Difference:
    return Difference(Interval(value, value - 0.01, value + 0.01), adjusted, adjusted)


def test_verdicts() -> None:
    assert verdict(difference(-0.02, 0.01), True) == "better"
    assert verdict(difference(-0.02, 0.01), True, lower_is_better=False) == "worse"
    assert verdict(difference(0.02, 0.049), True) == "worse"
    assert verdict(difference(0.02, 0.05), True) == "indistinguishable"
    assert verdict(difference(0.02, 0.01), False) == "insufficient"
    assert verdict(None, True) == "insufficient"
    assert verdict(difference(0.02, None), True) == "insufficient"
    assert (sufficient(1_000, 10), sufficient(999, 10), sufficient(1_000, 9)) == (True, False, False)


def test_coverage_short() -> None:
    """300 simulations have a standard error of 1.3 points, so a sound method stays within 95 ± 4."""
    row = coverage(speakers=20, simulations=300, draws=500)
    assert 0.91 <= row["coverage_wer"] <= 0.99
    assert 0.91 <= row["coverage_difference"] <= 0.99
    assert row["power"] > 0.5
