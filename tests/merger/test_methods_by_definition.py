"""Every method against a second, straightforward implementation of its published definition: float64, loops, sorting.

Nothing of `merger` is used on the other side: not its operators, not its random numbers, not its Gram matrices.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from merger.layout import place_of
from merger.registry import get_method, methods

NAMES = ("model.decoder.layers.0.fc1.weight", "model.encoder.layers.1.fc2.weight")
SHAPES = ((6, 10), (4, 3, 5), (17,))
Array = np.ndarray


def models(shape: tuple[int, ...]) -> tuple[list[Array], Array]:
    """Three models and their base; part of each change is common to all, so that signs agree and disagree."""
    generator = np.random.default_rng(11)
    base, common = generator.normal(size=shape), generator.normal(size=shape)
    tuned = [base + 0.3 * common + factor * generator.normal(size=shape) for factor in (0.2, 0.3, 0.4)]
    return [each.astype(np.float32) for each in tuned], base.astype(np.float32)


def split_mix(seed: int, name: str, source: int, size: int) -> Array:
    """SplitMix64 as published, seeded with the first 8 bytes of SHA-256; the upper 32 bits as a share of 2³²."""
    state = int.from_bytes(hashlib.sha256(f"{seed}:{name}:{source}".encode()).digest()[:8], "little")
    found = []
    for _ in range(size):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) % 2**64
        found.append(((word ^ (word >> 31)) >> 32) / 2**32)
    return np.array(found)


def largest(values: Array, count: int) -> Array:
    """Mask of the `count` largest magnitudes; of equal ones the first."""
    mask = np.zeros(values.size, bool)
    mask[np.argsort(-np.abs(values.reshape(-1)), kind="stable")[:count]] = True
    return mask.reshape(values.shape)


def disjoint_mean(deltas: list[Array], weights: Any, signs: Array) -> Array:
    result = np.zeros(deltas[0].shape)
    for index in np.ndindex(*result.shape):
        agreeing = [(w, d[index]) for w, d in zip(weights, deltas, strict=True) if d[index] * signs[index] > 0]
        if agreeing:
            result[index] = sum(w * d for w, d in agreeing) / sum(w for w, _ in agreeing)
    return result


def vote(deltas: list[Array], weights: Any) -> Array:
    return disjoint_mean(deltas, weights, sum(w * d for w, d in zip(weights, deltas, strict=True)))


def total(deltas: list[Array], weights: Any) -> Array:
    return sum(w * d for w, d in zip(weights, deltas, strict=True))


def arc(a: Array, b: Array, t: float) -> Array:
    cosine = float(np.sum(a * b)) / math.sqrt(float(np.sum(a * a)) * float(np.sum(b * b)))
    theta = math.acos(cosine)
    return (math.sin((1 - t) * theta) * a + math.sin(t * theta) * b) / math.sin(theta)


def direct(x: list[Array], s: Array, name: str, direct_alpha: float) -> Array:
    return direct_alpha * x[0] + (1 - direct_alpha) * x[1]


def slerp(x: list[Array], s: Array, name: str, slerp_t: float) -> Array:
    return arc(x[0], x[1], slerp_t)


def ties(x: list[Array], s: Array, name: str, ties_density: float, **pairs: tuple[float, float]) -> Array:
    a, b = pairs["encoder_weights" if ".encoder." in name else "decoder_weights"]
    mask = largest(x[0] - x[1], round(ties_density * s.size))
    return np.where(mask, a * x[0] + b * x[1], (x[0] + x[1]) / 2)


def swap(x: list[Array], s: Array, name: str, encoder_from: str, decoder_from: str) -> Array:
    return x["ab".index(encoder_from if ".encoder." in name else decoder_from)]


def linear(x: list[Array], s: Array, name: str, weights: Any) -> Array:
    return total(x, weights) / sum(weights)


def nuslerp(x: list[Array], s: Array, name: str, weights: Any, scope: str) -> Array:
    t = weights[1] / sum(weights)
    if scope == "tensor" or s.ndim == 1:
        return arc(x[0], x[1], t)
    return np.stack([arc(a, b, t) for a, b in zip(x[0], x[1], strict=True)])


def karcher(x: list[Array], s: Array, name: str, weights: Any) -> Array:
    """Steps along the mean of the logarithms, on whole vectors."""
    shares = np.array(weights) / sum(weights)
    lengths = [np.linalg.norm(each) for each in x]
    units = [each / length for each, length in zip(x, lengths, strict=True)]
    mean = units[0]
    for _ in range(300):
        tangent = np.zeros(s.shape)
        for share, unit in zip(shares, units, strict=True):
            cosine = min(float(np.sum(unit * mean)), 1.0)
            across = unit - cosine * mean
            if (length := np.linalg.norm(across)) > 1e-14:
                tangent += share * math.acos(cosine) * across / length
        if (step := float(np.linalg.norm(tangent))) < 1e-14:
            break
        mean = math.cos(step) * mean + math.sin(step) * tangent / step
    return mean * float(shares @ lengths)


def geometric_median(x: list[Array], s: Array, name: str, weights: Any) -> Array:
    """Weiszfeld's steps on whole vectors, from the mean."""
    point = linear(x, s, name, weights)
    for _ in range(5000):
        pull = [w / np.linalg.norm(each - point) for w, each in zip(weights, x, strict=True)]
        point = total(x, pull) / sum(pull)
    return point


def task_arithmetic(x: list[Array], s: Array, name: str, weights: Any, scale: float) -> Array:
    return s + scale * total([each - s for each in x], weights)


def ties_merging(x: list[Array], s: Array, name: str, weights: Any, density: float, scale: float, scope: str) -> Array:
    deltas = [each - s for each in x]
    return s + scale * vote([np.where(largest(d, round(density * s.size)), d, 0) for d in deltas], weights)


def dare(x: list[Array], s: Array, name: str, density: float, seed: int) -> list[Array]:
    chances = [split_mix(seed, name, index, s.size).reshape(s.shape) for index in range(len(x))]
    return [np.where(u < density, (each - s) / density, 0) for u, each in zip(chances, x, strict=True)]


def dare_linear(x: list[Array], s: Array, name: str, weights: Any, density: float, scale: float, seed: int) -> Array:
    return s + scale * total(dare(x, s, name, density, seed), weights)


def dare_ties(x: list[Array], s: Array, name: str, weights: Any, density: float, scale: float, seed: int) -> Array:
    return s + scale * vote(dare(x, s, name, density, seed), weights)


def della(
    x: list[Array], s: Array, name: str, weights: Any, density: float, epsilon: float, scale: float, seed: int
) -> Array:
    rows = s.shape[0] if s.ndim > 1 else 1
    spread = min(epsilon, density, 1 - density)
    thinned = []
    for source, each in enumerate(x):
        delta = (each - s).reshape(rows, -1)
        chances = split_mix(seed, name, source, s.size).reshape(delta.shape)
        kept = np.zeros(delta.shape)
        for row in range(rows):
            for rank, column in enumerate(np.argsort(np.abs(delta[row]), kind="stable")):
                stays = density - spread / 2 + spread * (rank + 1) / delta.shape[1]
                if chances[row, column] < stays:
                    kept[row, column] = delta[row, column] / stays
        thinned.append(kept.reshape(s.shape))
    return s + scale * vote(thinned, weights)


def breadcrumbs(
    x: list[Array], s: Array, name: str, weights: Any, density: float, gamma: float, scale: float
) -> Array:
    top = round(gamma * s.size)
    deltas = [each - s for each in x]
    kept = [largest(d, top + round(density * s.size)) & ~largest(d, top) for d in deltas]
    return s + scale * total([np.where(mask, d, 0) for mask, d in zip(kept, deltas, strict=True)], weights)


def sce(x: list[Array], s: Array, name: str, density: float, scale: float) -> Array:
    mask = largest(np.var(x, axis=0), round(density * s.size))
    deltas = [np.where(mask, each - s, 0) for each in x]
    energy = [float(np.sum(d * d)) for d in deltas]
    weights = [each / sum(energy) for each in energy]
    return s + scale * disjoint_mean(deltas, weights, sum(deltas))


def model_stock(x: list[Array], s: Array, name: str, scale: float) -> Array:
    units = [(each - s) / np.linalg.norm(each - s) for each in x]
    n = len(x)
    cosine = float(np.mean([np.sum(units[i] * units[j]) for i in range(n) for j in range(i)]))
    t = n * cosine / (1 + (n - 1) * cosine) if cosine > 0 else 0.0
    return s + scale * t * (sum(x) / n - s)


SHARES = (0.2, 0.5, 0.3)
CASES: list[tuple[Callable[..., Array], dict[str, Any]]] = [
    (direct, {"direct_alpha": 0.3}),
    (slerp, {"slerp_t": 0.3}),
    (ties, {"ties_density": 0.63, "encoder_weights": (0.9, 0.1), "decoder_weights": (0.2, 0.8)}),
    (swap, {"encoder_from": "b", "decoder_from": "a"}),
    (linear, {"weights": (1.0, 2.0, 3.0)}),
    (nuslerp, {"weights": (1.0, 3.0), "scope": "tensor"}),
    (nuslerp, {"weights": (1.0, 3.0), "scope": "row"}),
    (karcher, {"weights": (1.0, 2.0, 3.0)}),
    (geometric_median, {"weights": (1.0, 1.1, 1.2)}),
    (task_arithmetic, {"weights": SHARES, "scale": 0.7}),
    # round(0.38·60) = 23, of 17: 6; cutting off instead of rounding would keep 22 of 60.
    (ties_merging, {"weights": SHARES, "density": 0.38, "scale": 0.7, "scope": "tensor"}),
    (dare_linear, {"weights": SHARES, "density": 0.4, "scale": 0.7, "seed": 5}),
    (dare_ties, {"weights": SHARES, "density": 0.4, "scale": 0.7, "seed": 5}),
    (della, {"weights": SHARES, "density": 0.6, "epsilon": 0.3, "scale": 0.7, "seed": 5}),
    (della, {"weights": SHARES, "density": 0.8, "epsilon": 0.9, "scale": 1.0, "seed": 6}),
    (breadcrumbs, {"weights": SHARES, "density": 0.5, "gamma": 0.1, "scale": 0.7}),
    (sce, {"density": 0.6, "scale": 0.7}),
    (model_stock, {"scale": 0.7}),
]


def case_name(case: tuple[Callable[..., Array], dict[str, Any]]) -> str:
    return "-".join([case[0].__name__.replace("_", "-"), *(v for v in case[1].values() if isinstance(v, str))])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_the_published_definition(case: tuple[Callable[..., Array], dict[str, Any]], shape: tuple[int, ...]) -> None:
    definition, given = case
    spec = get_method(definition.__name__.replace("_", "-"))
    tuned, base = models(shape)
    tuned = tuned[:2] if spec.sources == "two" else tuned
    for name in NAMES:  # the random numbers are each tensor's own
        merged = spec.merge(tuned, base, place_of(name, shape, {"encoder_layers": 2, "decoder_layers": 2}), **given)
        expected = definition([each.astype(np.float64) for each in tuned], base.astype(np.float64), name, **given)
        np.testing.assert_allclose(merged, expected, rtol=0, atol=2e-6)


def test_every_method_has_a_definition_here() -> None:
    assert {definition.__name__.replace("_", "-") for definition, _ in CASES} == set(methods())
