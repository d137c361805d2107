"""Bradley–Terry by hand, and what too few votes may not claim."""

import math

import numpy as np
import pytest

from evaluation.store import Vote
from ui.blind import csv_cell
from ui.ranking import MIN_VOTES, PRIOR, ballots, fit, standings


def votes(left: int, right: int, tie: int = 0, bad: int = 0) -> list[Vote]:
    choices = ["left"] * left + ["right"] * right + ["tie"] * tie + ["both_bad"] * bad
    return [Vote("clip", "x", "y", choice) for choice in choices]  # type: ignore[arg-type]


def test_two_candidates_by_hand() -> None:
    # 7 wins of 10 and half a win of prior each: the odds are 7.5 : 3.5; against the average (the geometric mean of both
    # strengths) the chance is √odds / (1 + √odds).
    odds = math.sqrt((7 + PRIOR) / (3 + PRIOR))
    first, second = standings(votes(7, 3))
    assert (first.name, second.name) == ("x", "y")
    assert first.strength == pytest.approx(odds / (1 + odds), abs=1e-6)
    assert first.strength + second.strength == pytest.approx(1.0)


def test_ties_are_half_a_win_and_both_bad_says_nothing() -> None:
    assert [one.strength for one in standings(votes(0, 0, tie=6))] == pytest.approx([0.5, 0.5])
    assert standings(votes(0, 0, bad=9)) == []
    assert standings(votes(7, 3, bad=50)) == standings(votes(7, 3))


def test_a_ring_of_three_is_even() -> None:
    wins = np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert fit(wins) == pytest.approx(np.full(3, 0.5))


def test_the_interval_holds_the_value_and_shrinks_with_votes() -> None:
    few, many = standings(votes(7, 3))[0], standings(votes(70, 30))[0]
    assert few.low <= few.strength <= few.high and many.low <= many.strength <= many.high
    assert many.high - many.low < few.high - few.low
    sure = standings(votes(2, 0))[0]
    assert sure.high - sure.low > 0.25, "two wins out of two are no certainty"
    assert standings(votes(MIN_VOTES - 1, 0))[0].enough is False
    assert standings(votes(MIN_VOTES, 0))[0].enough is True
    assert standings(votes(MIN_VOTES, 0))[0].strength < 1


def test_a_ballot_about_several_pairs_counts_once() -> None:
    def ballot(name: str) -> list[Vote]:
        return [Vote("c", "x", "y", "left", 2.0, name), Vote("c", "x", "z", "left", 2.0, name)]

    told = [vote for number in range(MIN_VOTES - 1) for vote in ballot(str(number))]
    assert ballots(told) == MIN_VOTES - 1
    assert [one.enough for one in standings(told)] == [False, False, False]
    assert standings(told + ballot("last"))[0].enough and standings(told)[0].votes == MIN_VOTES - 1
    assert ballots([*told, Vote("c", "x", "y", "tie"), Vote("c", "x", "y", "tie")]) == MIN_VOTES + 1


@pytest.mark.parametrize(
    ("text", "cell"),
    [("plain", "plain"), ("=1+1", "'=1+1"), ("@x", "'@x"), ("-3", "'-3"), ('a "b", c', '"a ""b"", c"')],
)
def test_csv_cells_are_harmless(text: str, cell: str) -> None:
    assert csv_cell(text) == cell


def test_many_tables_are_fitted_at_once_as_each_alone() -> None:
    tables = np.random.default_rng(4).uniform(0.5, 9, size=(7, 4, 4)) * (1 - np.eye(4))
    assert np.allclose(fit(tables), [fit(one) for one in tables], atol=1e-5)
