"""The methods beyond the guide against values worked out by hand from their papers' definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from merger.deltas import RandomDrop, RankedDrop, elected_mean, random_words
from merger.layout import place_of
from merger.methods.geometric_median import median_coefficients
from merger.methods.karcher import karcher_coefficients
from merger.methods.model_stock import stock_ratio
from merger.operators import Difference
from merger.registry import get_method
from merger.views import ModelView, WholeTensor

S = np.array([[1, 1, 1, 1], [0, 0, 0, 0], [2, 2, 2, 2], [-1, -1, -1, -1]], np.float32)
# Deltas in multiples of 1/8, so that every step is exact in float32.
DA = np.array([[4, -2, 1, 0], [8, 1, -1, 2], [-4, 2, 0, 1], [1, -8, 2, -1]], np.float32) / 8
DB = np.array([[2, -4, -1, 1], [-2, 1, 1, 2], [4, 2, 1, -1], [0, -4, -8, 1]], np.float32) / 8
A, B = S + DA, S + DB


def merge(
    method: str, models: list[np.ndarray] | None = None, base: np.ndarray | None = S, **given: object
) -> np.ndarray:
    models = [A, B] if models is None else models
    name = given.pop("name", "model.decoder.layers.0.fc1.weight")
    place = place_of(str(name), models[0].shape, {"encoder_layers": 2, "decoder_layers": 2})
    return get_method(method).merge(models, base, place, **given)


def test_linear_normalises_its_weights() -> None:
    c = np.full((4, 4), 8, np.float32)
    np.testing.assert_array_equal(merge("linear", [A, B, c], weights=(2.0, 1.0, 1.0)), 0.5 * A + 0.25 * B + 0.25 * c)
    np.testing.assert_array_equal(merge("linear"), 0.5 * A + 0.5 * B)


def test_task_arithmetic() -> None:
    np.testing.assert_array_equal(merge("task-arithmetic"), S + (DA + DB) / 2)
    np.testing.assert_array_equal(merge("task-arithmetic", weights=(1.0, 0.5), scale=2.0), S + 2 * DA + DB)
    np.testing.assert_array_equal(merge("task-arithmetic", scale=0.0), S)


def test_ties_merging() -> None:
    # density 0.25 keeps 4 of 16. |8·δA|: 8, 8, 4, 4 → positions 4, 13, 0, 8. |8·δB|: 8, 4, 4, 4 → 14, 1, 8, 13.
    # Elected by the sum of what is kept: position 8 has −4 and +4, which elect no sign.
    expected = S.copy().reshape(-1)
    for position, change in {0: 4, 1: -4, 4: 8, 13: -6, 14: -8}.items():
        expected[position] += change / 8
    np.testing.assert_array_equal(merge("ties-merging", density=0.25).reshape(-1), expected)


def test_ties_merging_weighs_the_vote_and_the_mean() -> None:
    # All kept; position 4: 8·0.25 − 2·0.75 = +0.5 → A's sign wins, alone in its mean.
    merged = merge("ties-merging", density=1.0, weights=(0.25, 0.75))
    assert merged[1, 0] == 1.0
    # Position 0: both positive: (0.25·4 + 0.75·2) / 1 / 8
    assert merged[0, 0] == 1 + 2.5 / 8
    # Position 8: −4·0.25 + 4·0.75 > 0 → B alone
    assert merged[2, 0] == 2.5


def test_ties_merging_over_the_whole_model() -> None:
    # Two tensors, 8 elements together, density 0.5: the four largest all lie in the first.
    config = {"decoder_layers": 2}
    first, second = (place_of(f"model.decoder.layers.{i}.fc1.weight", (2, 2), config) for i in range(2))
    zero = np.zeros((2, 2), np.float32)
    big, small = np.full((2, 2), 4, np.float32), np.array([[1, 4], [1, 1]], np.float32)
    tensors = [(first, big), (second, small)]

    def views():
        return iter([WholeTensor(place, (delta, delta), zero) for place, delta in tensors])

    spec = get_method("ties-merging")
    survey = spec.survey(ModelView(views), density=0.5, scope="model")
    merged = []
    for place, delta in tensors:
        view = WholeTensor(place, (delta, delta), zero, survey)
        merged.append(spec.plan(view, **{**spec.defaults, "density": 0.5})(view.whole()).tolist())
    assert merged == [[4, 4, 4, 4], [0, 0, 0, 0]]  # the equal 4 of the second tensor comes fifth
    survey = spec.survey(ModelView(views), density=5 / 8, scope="model")
    assert [survey[0][place.name].mask(delta.reshape(-1), 0).sum() for place, delta in tensors] == [4, 1]


def test_model_wide_selection_is_a_stable_sort() -> None:
    generator = np.random.default_rng(3)
    sizes = (5, 1, 40, 7)
    values = [np.round(generator.normal(size=size) * 4).astype(np.float32) for size in sizes]
    places = [place_of(f"model.decoder.layers.{i}.fc1.bias", (size,), {}) for i, size in enumerate(sizes)]

    def views():
        return iter(
            [WholeTensor(place, (v, v), np.zeros_like(v)) for place, v in zip(places, values, strict=True)]
        )

    everything = np.concatenate(values)
    order = np.argsort(-np.abs(everything), kind="stable")
    for k in range(54):
        cuts = ModelView(views).top(Difference(0, -1), k / 53)
        mask = np.concatenate(
            [cuts[place.name].mask(np.abs(v), 0) for place, v in zip(places, values, strict=True)]
        )
        np.testing.assert_array_equal(np.flatnonzero(mask), np.sort(order[: round(k / 53 * 53)]))


def test_a_ballot_of_zero_elects_nobody() -> None:
    deltas = [np.array([1, -1, 0], np.float32), np.array([-1, -1, 2], np.float32)]
    mean = elected_mean(deltas, (0.5, 0.5), np.array([0, -1, 1], np.float32))
    assert mean.tolist() == [0, -1, 2]


def test_dare_keeps_the_expectation_and_its_share() -> None:
    delta = np.ones(200_000, np.float32)
    thinned = RandomDrop(key=12345, density=0.3)(delta, 0)
    kept = thinned != 0
    assert abs(kept.mean() - 0.3) < 4 * math.sqrt(0.3 * 0.7 / 200_000)
    assert set(thinned[kept].tolist()) == {float(np.float32(1 / 0.3))}
    np.testing.assert_array_equal(RandomDrop(12345, 1.0)(delta, 0), delta)
    assert not RandomDrop(12345, 0.0)(delta, 0).any()


def test_dare_linear_by_its_own_masks() -> None:
    merged = merge("dare-linear", density=0.5, weights=(1.0, 1.0), seed=7)
    # Every element is S plus some of 2·δA and 2·δB.
    options = [S, S + 2 * DA, S + 2 * DB, S + 2 * DA + 2 * DB]
    assert np.any([merged == option for option in options], axis=0).all()
    assert not np.array_equal(merged, merge("dare-linear", density=0.5, weights=(1.0, 1.0), seed=8))
    np.testing.assert_array_equal(merge("dare-linear", density=1.0), merge("task-arithmetic"))


def test_dare_ties_at_full_density_is_ties_merging_at_full_density() -> None:
    np.testing.assert_array_equal(merge("dare-ties", density=1.0), merge("ties-merging", density=1.0))


def test_random_words_are_splitmix64() -> None:
    # First outputs of SplitMix64 seeded with 1234567, as its authors publish them.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    words = random_words(1234567, 0, np.zeros(4, np.float32))
    assert words.tolist() == [number >> 32 for number in published]
    on_torch = random_words(1234567, 0, torch.zeros(4))
    assert on_torch.tolist() == words.tolist()
    later = random_words(1234567, 2, np.zeros(2, np.float32))
    assert later.tolist() == words.tolist()[2:]


def test_della_chances_rise_with_rank() -> None:
    delta = np.tile(np.arange(1, 5, dtype=np.float32), 50_000)
    thinned = RankedDrop(key=99, density=0.5, epsilon=0.4, row=4)(delta, 0).reshape(-1, 4)
    # rank r of 4: 0.5 − 0.2 + 0.4·(r + 1)/4
    np.testing.assert_allclose((thinned != 0).mean(axis=0), [0.4, 0.5, 0.6, 0.7], atol=0.006)
    for column, chance in enumerate([0.4, 0.5, 0.6, 0.7]):
        kept = thinned[:, column][thinned[:, column] != 0]
        np.testing.assert_allclose(kept, (column + 1) / chance, rtol=1e-6)


def test_della_never_enlarges_without_bound() -> None:
    delta = np.tile(np.arange(1, 5, dtype=np.float32), 50_000)
    thinned = RankedDrop(key=99, density=0.1, epsilon=0.9, row=4)(delta, 0).reshape(-1, 4)
    # ε is narrowed to 0.1: 0.1 − 0.05 + 0.1·(r + 1)/4
    np.testing.assert_allclose((thinned != 0).mean(axis=0), [0.075, 0.1, 0.125, 0.15], atol=0.006)
    np.testing.assert_allclose(thinned.max(axis=0), [1 / 0.075, 2 / 0.1, 3 / 0.125, 4 / 0.15], rtol=1e-6)
    assert not RankedDrop(key=1, density=0.0, epsilon=0.2, row=4)(delta, 0).any()


def test_breadcrumbs() -> None:
    # γ = 1/8 drops the 2 largest, density 1/4 keeps the next 4. |8·δA| in order: 8(4) 8(13) | 4(0) 4(8) 2(1) 2(7)
    # |8·δB| in order: 8(14) 4(1) | 4(8) 4(13) 2(0) 2(4)
    expected = S.copy().reshape(-1)
    for source in ({0: 4, 8: -4, 1: -2, 7: 2}, {8: 4, 13: -4, 0: 2, 4: -2}):
        for position, change in source.items():
            expected[position] += change / 16
    np.testing.assert_array_equal(merge("breadcrumbs", gamma=0.125, density=0.25).reshape(-1), expected)
    np.testing.assert_array_equal(merge("breadcrumbs", gamma=0.0, density=1.0), merge("task-arithmetic"))


def test_sce() -> None:
    # One row; δA = (2, 0, 1, 0), δB = (−2, 2, 1, 0): variances (4, 1, 0, 0); density 0.5 selects the first two.
    base = np.zeros((1, 4), np.float32)
    a, b = np.array([[2, 0, 1, 0]], np.float32), np.array([[-2, 2, 1, 0]], np.float32)
    # energies 4 and 8 → weights 1/3, 2/3; first: ballot 0 → nobody; second: only B → 2
    np.testing.assert_array_equal(merge("sce", [a, b], base, density=0.5), [[0, 2, 0, 0]])
    # all selected: energies 5 and 9; third: both agree → 1
    np.testing.assert_array_equal(merge("sce", [a, b], base, density=1.0), [[0, 2, 1, 0]])
    c = np.array([[4, 2, 1, 0]], np.float32)
    # a and c agree on the first: (4·2 + 21·4) / 25 with energies 5, 9, 21
    merged = merge("sce", [a, b, c], base, density=1.0)
    assert merged[0, 0] == pytest.approx((5 * 2 + 21 * 4) / 26, rel=1e-6)


def test_model_stock() -> None:
    # Two deltas of equal length at 60°: cos = 1/2, t = 2·½ / (1 + ½) = 2/3
    base = np.zeros((1, 2), np.float32)
    a, b = np.array([[1, 0]], np.float32), np.array([[0.5, math.sqrt(3) / 2]], np.float32)
    np.testing.assert_allclose(merge("model-stock", [a, b], base), (a + b) / 3, rtol=1e-6)
    gram = np.zeros((4, 4))
    gram[1:, 1:] = [[1, 0.5, 0.5], [0.5, 1, 0.5], [0.5, 0.5, 1]]
    assert stock_ratio(gram) == pytest.approx(0.75)  # 3·½ / (1 + 2·½)
    gram[1:, 1:] = np.eye(3)
    assert stock_ratio(gram) == 0.0


def test_nuslerp_per_row() -> None:
    # Each row by itself: a right angle, equal directions of unlike length, and a half turn (linear).
    a = np.array([[1, 0], [2, 0], [1, 1]], np.float32)
    b = np.array([[0, 1], [4, 0], [-1, -1]], np.float32)
    merged = merge("nuslerp", [a, b], None, scope="row", weights=(1.0, 1.0))
    np.testing.assert_allclose(merged, [[math.sqrt(0.5), math.sqrt(0.5)], [3, 0], [0, 0]], atol=1e-7)


def test_nuslerp_over_the_tensor_is_slerp() -> None:
    merged = merge("nuslerp", [A, B], None, weights=(3.0, 1.0))
    np.testing.assert_array_equal(merged, merge("slerp", [A, B], None, slerp_t=0.25))


def test_karcher_of_two_is_slerp() -> None:
    b = B * np.float32(np.linalg.norm(A) / np.linalg.norm(B))
    merged = merge("karcher", [A, b], None, weights=(0.7, 0.3))
    np.testing.assert_allclose(merged, merge("slerp", [A, b], None, slerp_t=0.3), rtol=2e-6, atol=1e-7)


def test_karcher_of_the_three_axes_is_the_diagonal() -> None:
    found = karcher_coefficients(np.eye(3), (1 / 3,) * 3)
    np.testing.assert_allclose(found, (1 / math.sqrt(3),) * 3, rtol=1e-12)
    found = karcher_coefficients(np.diag([4.0, 4.0, 4.0]), (1 / 3,) * 3)  # length 2 each: the mean has length 2
    np.testing.assert_allclose(found, (1 / math.sqrt(3),) * 3, rtol=1e-12)


def test_karcher_keeps_small_angles() -> None:
    theta = 1e-4
    inner = np.array([[1, math.cos(theta)], [math.cos(theta), 1]])
    np.testing.assert_allclose(karcher_coefficients(inner, (0.25, 0.75)), (0.25, 0.75), rtol=1e-6)


def test_geometric_median() -> None:
    # Equilateral triangle: its centre. A triangle with an angle over 120°: that corner.
    corners = np.array([[0, 0], [1, 0], [0.5, math.sqrt(3) / 2]])
    np.testing.assert_allclose(median_coefficients(corners @ corners.T, (1 / 3,) * 3), (1 / 3,) * 3, atol=1e-9)
    flat = np.array([[0, 0], [10, 0.1], [-10, 0.1]])
    assert median_coefficients(flat @ flat.T, (1 / 3,) * 3) == (1.0, 0.0, 0.0)
    # An outlier hardly moves it: 0, 1 and 100 on a line have the median 1.
    line = np.array([[0.0], [1.0], [100.0]])
    assert median_coefficients(line @ line.T, (1 / 3,) * 3) == (0.0, 1.0, 0.0)
    np.testing.assert_allclose(merge("geometric-median", [A, B], None), 0.5 * A + 0.5 * B, rtol=1e-6)


def test_swap_takes_whole_stacks() -> None:
    for name, expected in (
        ("model.encoder.layers.0.fc1.weight", A),
        ("model.encoder.embed_positions.weight", A),
        ("model.decoder.layers.0.encoder_attn.k_proj.weight", B),
        ("model.decoder.embed_tokens.weight", B),
    ):
        np.testing.assert_array_equal(merge("swap", [A, B], None, name=name), expected)
        assert merge("swap", [A, B], None, name=name, encoder_from="b", decoder_from="b").tobytes() == B.tobytes()
