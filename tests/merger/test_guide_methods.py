"""Direct, SLERP and the guide's TIES against values worked out by hand, and their identities."""

from __future__ import annotations

import math

import numpy as np
import pytest

from merger.layout import place_of
from merger.methods.slerp import angle, coefficients
from merger.registry import get_method
from merger.views import WholeTensor

pytest.importorskip("hypothesis", reason="a bare GPU machine has no hypothesis")
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

CONFIG = {"encoder_layers": 4, "decoder_layers": 4}
DIRECT, SLERP, TIES = get_method("direct"), get_method("slerp"), get_method("ties")


def place(shape: tuple[int, ...] = (4, 4), name: str = "model.decoder.layers.0.fc1.weight"):
    return place_of(name, shape, CONFIG)


def values(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


A = values([1, 2, 3, 4], [0, 0, 0, 0], [-1, -2, -3, -4], [8, 8, 8, 8])
B = values([3, 2, 1, 0], [1, -1, 2, -2], [-1, -2, -3, -4], [0, 4, 6, 7])


def test_direct_by_hand() -> None:
    # 0.75 A + 0.25 B, exact in binary
    expected = values([1.5, 2, 2.5, 3], [0.25, -0.25, 0.5, -0.5], [-1, -2, -3, -4], [6, 7, 7.5, 7.75])
    np.testing.assert_array_equal(DIRECT.merge([A, B], None, place(), direct_alpha=0.75), expected)


def test_slerp_at_a_right_angle_by_hand() -> None:
    # u ⟂ v: at t = 1/3 the coefficients are sin 60° and sin 30°
    a, b = values([1, 0]), values([0, 1])
    merged = SLERP.merge([a, b], None, place((1, 2)), slerp_t=1 / 3)
    np.testing.assert_allclose(merged, [[math.sqrt(3) / 2, 0.5]], rtol=1e-7)


def test_slerp_keeps_the_length_on_the_sphere() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.normal(size=(2, 4, 4)).astype(np.float32)
    b *= np.linalg.norm(a) / np.linalg.norm(b)
    merged = SLERP.merge([a, b], None, place(), slerp_t=0.37)
    assert np.linalg.norm(merged) == pytest.approx(np.linalg.norm(a), rel=1e-6)


def test_slerp_of_nearly_equal_tensors_keeps_its_angle() -> None:
    # cos θ = 1 − 5e-13 is 1 in float32 and loses half its digits through the arc cosine in float64
    theta = 1e-6
    a, b = np.array([1.0, 0.0]), np.array([math.cos(theta), math.sin(theta)])
    gram = np.array([[a @ a, a @ (b - a)], [a @ (b - a), (b - a) @ (b - a)]])
    assert angle(gram) == pytest.approx(theta, rel=1e-9)


@pytest.mark.parametrize("b", [np.zeros((4, 4), np.float32), -A])
def test_slerp_is_linear_where_there_is_no_arc(b: np.ndarray) -> None:
    view = WholeTensor(place(), (A, b), None)
    merged = SLERP.plan(view, slerp_t=0.25)(view.whole()).reshape(4, 4)
    np.testing.assert_allclose(merged, 0.75 * A + 0.25 * b, rtol=1e-7)
    assert math.isnan(view.notes["angle"])


def test_slerp_coefficients_tend_to_the_mixture() -> None:
    assert coefficients(0.0, 0.3) == pytest.approx((0.7, 0.3))
    assert coefficients(1e-9, 0.3) == pytest.approx((0.7, 0.3))
    assert coefficients(math.pi / 2, 0.5) == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))


def test_ties_by_hand() -> None:
    # |A − B| = [[2 0 2 4] [1 1 2 2] [0 0 0 0] [8 4 2 1]]; k = round(0.25 · 16) = 4 are blended with 0.25 / 0.75:
    # 8, 4, 4 and, of the five 2s, the first by position; all others are averaged.
    expected = values([2.5, 2, 2, 1], [0.5, -0.5, 1, -1], [-1, -2, -3, -4], [2, 5, 7, 7.5])
    merged = TIES.merge([A, B], None, place(), ties_density=0.25, decoder_weights=(0.25, 0.75))
    np.testing.assert_array_equal(merged, expected)


def test_ties_takes_exactly_k_of_equal_differences() -> None:
    a, b = np.zeros((4, 4), np.float32), np.ones((4, 4), np.float32)
    merged = TIES.merge([a, b], None, place(), ties_density=0.3, decoder_weights=(1.0, 0.0)).reshape(-1)
    assert merged.tolist() == [0.0] * 5 + [0.5] * 11  # round(4.8) = 5, the first by position


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("model.encoder.layers.0.fc1.weight", "encoder_weights"),
        ("model.decoder.layers.0.fc1.weight", "decoder_weights"),
        ("model.decoder.layers.0.encoder_attn.q_proj.weight", "decoder_weights"),
        ("model.decoder.embed_tokens.weight", "decoder_weights"),
        ("model.encoder.conv1.weight", "encoder_weights"),
    ],
)
def test_ties_takes_the_weights_of_the_tensors_part(name: str, weights: str) -> None:
    merged = TIES.merge(
        [A, B], None, place(name=name), ties_density=1.0,
        **{"encoder_weights": (0.5, 0.5), "decoder_weights": (0.5, 0.5), weights: (1.0, 0.0)},
    )  # fmt: skip
    np.testing.assert_array_equal(merged, A)


half = st.floats(-100, 100, width=16)
tensors = arrays(np.float32, (4, 4), elements=half)
share = st.floats(0, 1)


@settings(max_examples=60, deadline=None)
@given(a=tensors, b=tensors, density=share, alpha=share)
def test_ties_identities_hold_bit_for_bit(a: np.ndarray, b: np.ndarray, density: float, alpha: float) -> None:
    here = place()
    half_and_half = DIRECT.merge([a, b], None, here, direct_alpha=0.5).tobytes()
    pair = (alpha, 1 - alpha)
    # weights 0.5, 0.5: direct(0.5) for every density
    assert TIES.merge([a, b], None, here, ties_density=density, decoder_weights=(0.5, 0.5)).tobytes() == half_and_half
    # density 0: direct(0.5)
    assert TIES.merge([a, b], None, here, ties_density=0.0, decoder_weights=pair).tobytes() == half_and_half
    # density 1: direct(α)
    straight = DIRECT.merge([a, b], None, here, direct_alpha=alpha)
    assert TIES.merge([a, b], None, here, ties_density=1.0, decoder_weights=pair).tobytes() == straight.tobytes()


@settings(max_examples=60, deadline=None)
@given(a=tensors, b=tensors, density=share)
def test_ties_selects_as_a_stable_sort_would(a: np.ndarray, b: np.ndarray, density: float) -> None:
    merged = TIES.merge([a, b], None, place(), ties_density=density, decoder_weights=(1.0, 0.0)).reshape(-1)
    order = np.argsort(-np.abs(a - b).reshape(-1), kind="stable")[: round(density * 16)]
    expected = (0.5 * a + 0.5 * b).reshape(-1)
    expected[order] = a.reshape(-1)[order]
    np.testing.assert_array_equal(merged, expected)
