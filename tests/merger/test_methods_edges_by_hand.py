"""Random drops worked out by hand, and the corners of the methods that measure before they merge."""

from __future__ import annotations

import math

import numpy as np
import pytest

from merger.layout import place_of
from merger.methods.geometric_median import median_coefficients
from merger.methods.karcher import karcher_coefficients
from merger.registry import get_method

NAME = "model.decoder.layers.0.fc1.weight"
BASE = np.ones((2, 4), np.float32)
DA = np.array([[4, -2, 1, 8], [-8, 2, 1, 4]], np.float32) / 8
DB = np.array([[2, -4, -1, 1], [2, -4, 1, 8]], np.float32) / 8
# The random numbers of seed 0 for this name, as shares of 2³²:
#   A  .606 .818 .739 .177 | .285 .653 .506 .441        B  .145 .584 .412 .841 | .153 .016 .564 .223
# Below 0.5 (kept at density 0.5): A at 3, 4, 7; B at 0, 2, 4, 5, 7.


def merge(method: str, models: list[np.ndarray], base: np.ndarray | None, name: str = NAME, **given: object):
    place = place_of(name, models[0].shape, {"encoder_layers": 2, "decoder_layers": 2})
    return get_method(method).merge(models, base, place, **given)


def eighths(*changes: float) -> np.ndarray:
    return BASE + np.array(changes, np.float32).reshape(BASE.shape) / 8


def test_dare_linear_adds_what_each_model_keeps() -> None:
    # What is kept counts twice. At 4: −16 + 4, at 7: 8 + 16, elsewhere one model or none.
    merged = merge("dare-linear", [BASE + DA, BASE + DB], BASE, density=0.5, weights=(1.0, 1.0))
    np.testing.assert_array_equal(merged, eighths(4, 0, -2, 16, -12, -8, 0, 24))


def test_dare_draws_anew_for_every_tensor() -> None:
    here, there = (
        merge("dare-linear", [BASE + DA, BASE + DB], BASE, name, density=0.5)
        for name in (NAME, "model.decoder.layers.1.fc1.weight")
    )
    assert not np.array_equal(here, there)


def test_dare_ties_lets_the_signs_of_what_is_kept_vote() -> None:
    # At 4: 0.25·(−16) + 0.75·4 = −1, so A alone: −16. At 7 both agree: 0.25·8 + 0.75·16 = 14. Elsewhere one or none.
    merged = merge("dare-ties", [BASE + DA, BASE + DB], BASE, density=0.5, weights=(0.25, 0.75))
    np.testing.assert_array_equal(merged, eighths(4, 0, -2, 16, -16, -8, 0, 14))


def test_della() -> None:
    # density 0.5, ε 0.4: the ranks 0 … 3 of a row stay with the chances .4 .5 .6 .7.
    # A: .6 .5 .4 .7 | .7 .5 .4 .6 → kept at 3, 4, 7: 8/.7, −8/.7, 4/.6
    # B: .6 .7 .4 .5 | .5 .6 .4 .7 → kept at 0, 1, 4, 5, 7: 2/.6, −4/.7, 2/.5, −4/.6, 8/.7
    # At 4: 0.25·(−8/.7) + 0.75·4 = +0.14, so B alone: 4. At 7 both agree: 0.25·4/.6 + 0.75·8/.7.
    merged = merge("della", [BASE + DA, BASE + DB], BASE, density=0.5, epsilon=0.4, weights=(0.25, 0.75))
    expected = eighths(2 / 0.6, -4 / 0.7, 0, 8 / 0.7, 4, -4 / 0.6, 0, 1 / 0.6 + 6 / 0.7)
    np.testing.assert_allclose(merged, expected, rtol=1e-6)


def test_ties_merging_rounds_the_number_kept() -> None:
    # 0.7 · 4 = 2.8: three of four stay.
    change = np.array([[4, 3, 2, 1]], np.float32)
    zero = np.zeros((1, 4), np.float32)
    np.testing.assert_array_equal(merge("ties-merging", [change, change], zero, density=0.7), [[4, 3, 2, 0]])


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_sce_and_model_stock_scale_what_was_learnt(scale: float) -> None:
    base = np.ones((1, 4), np.float32)
    a, b = np.array([[2, 0, 1, 0]], np.float32), np.array([[-2, 2, 1, 0]], np.float32)
    # first: a vote of 2 − 2; second: B alone; third: both say 1.
    np.testing.assert_array_equal(
        merge("sce", [base + a, base + b], base, scale=scale), base + scale * np.array([[0, 2, 1, 0]], np.float32)
    )
    # cos 45°: t = 2·c / (1 + c) with c = √½; the mean of the changes is (1, ½).
    a, b = np.array([[1, 0]], np.float32), np.array([[1, 1]], np.float32)
    t = 2 * math.sqrt(0.5) / (1 + math.sqrt(0.5))
    merged = merge("model-stock", [a, b], np.zeros((1, 2), np.float32), scale=scale)
    np.testing.assert_allclose(merged, scale * t * np.array([[1, 0.5]]), rtol=1e-6)


def test_model_stock_never_goes_behind_the_base() -> None:
    # 120°: cos = −½, and 2·(−½) / (1 − ½) = −2 would lead away from both models.
    a, b = np.array([[1, 0]], np.float32), np.array([[-0.5, math.sqrt(3) / 2]], np.float32)
    np.testing.assert_array_equal(merge("model-stock", [a, b], np.zeros((1, 2), np.float32)), [[0, 0]])


def test_a_row_of_a_convolution_is_an_output_channel() -> None:
    # Channel 0: (1, 0, 0, 0) and (0, 0, 0, 1), a right angle: √½ of each. Channel 1: the same direction: the mean, 3.
    a = np.array([[[1, 0], [0, 0]], [[2, 0], [0, 0]]], np.float32)
    b = np.array([[[0, 0], [0, 1]], [[4, 0], [0, 0]]], np.float32)
    merged = merge("nuslerp", [a, b], None, "model.encoder.conv1.weight", scope="row")
    half = math.sqrt(0.5)
    np.testing.assert_allclose(merged, [[[half, 0], [0, half]], [[3, 0], [0, 0]]], atol=1e-7)


def test_karcher_weighs_the_lengths() -> None:
    # A right angle, lengths 1 and 3, weights ¼ and ¾: 67.5° on the way, length ¼·1 + ¾·3 = 2.5.
    a, b = np.array([[1, 0]], np.float32), np.array([[0, 3]], np.float32)
    merged = merge("karcher", [a, b], None, weights=(1.0, 3.0))
    way = math.radians(67.5)
    np.testing.assert_allclose(merged, [[2.5 * math.cos(way), 2.5 * math.sin(way)]], rtol=1e-6)


def test_karcher_leaves_out_models_of_length_zero() -> None:
    # The middle of the two others, at their mean length: 1, not two thirds.
    found = karcher_coefficients(np.diag([1.0, 1.0, 0.0]), (1 / 3,) * 3)
    np.testing.assert_allclose(found[:2], [math.sqrt(0.5)] * 2, rtol=1e-12)
    assert karcher_coefficients(np.zeros((2, 2)), (0.25, 0.75)) == (0.25, 0.75)


def legs(degrees: float) -> np.ndarray:
    """Gram matrix of a triangle's corners: the apex at the origin, two legs of length 1 with this angle between."""
    half = math.radians(degrees) / 2
    corners = np.array([[0, 0], [math.sin(half), math.cos(half)], [-math.sin(half), math.cos(half)]])
    return corners @ corners.T


def test_geometric_median_of_a_triangle() -> None:
    # 130°: the legs pull with 2·cos 65° = 0.85 of a model's weight, less than the apex holds: the apex.
    assert median_coefficients(legs(130), (1 / 3,) * 3) == (1.0, 0.0, 0.0)
    # 100°: 2·cos 50° = 1.29, more than it holds. Fermat's point sees all sides at 120°: sin 50° / √3 above the base.
    share = math.sin(math.radians(50)) / math.sqrt(3) / math.cos(math.radians(50))  # of the apex: over the height
    np.testing.assert_allclose(
        median_coefficients(legs(100), (1 / 3,) * 3), (share, (1 - share) / 2, (1 - share) / 2), atol=1e-9
    )
