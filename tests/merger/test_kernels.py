"""The compiled kernels against their plain numpy twins: the same bits, or the kernels are wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from merger import native
from merger.arithmetic import Arithmetic
from merger.deltas import DeltaMerge, Trim
from merger.dtypes import WIDTH, all_finite, narrow, widen
from merger.layout import place_of
from merger.operators import EVERYTHING, Chunk, Cut, Difference, Linear, TopBlend
from merger.stream import Buffers, StreamedTensor, StreamView

KERNELS = native.native_arithmetic()
pytestmark = pytest.mark.skipif(KERNELS is None, reason="no C compiler here: the numpy twins do the work")
DTYPES = ["F16", "BF16", "F32"]


def every_half() -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(np.uint8)


def hard_floats() -> np.ndarray:
    """All halves and the points between them where rounding decides, their neighbours, and random patterns."""
    halves = widen(every_half(), "F16")
    finite = halves[np.isfinite(halves)]
    ordered = np.unique(finite)
    middles = ((ordered[:-1].astype(np.float64) + ordered[1:]) / 2).astype(np.float32)
    random = np.random.default_rng(0).integers(0, 1 << 32, 1 << 16, dtype=np.uint32).view(np.float32)
    around = np.concatenate([np.nextafter(middles, np.float32(sign * np.inf)) for sign in (-1, 1)])
    special = np.array([np.inf, -np.inf, 65519.996, 65520.0, -0.0], np.float32)
    values = np.concatenate([finite, middles, around, random, special])
    return values[~np.isnan(values)]


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_widening_every_pattern(dtype: str) -> None:
    wide = KERNELS.load(every_half(), dtype)
    plain = widen(every_half(), dtype)
    numbers = ~np.isnan(plain)
    assert np.isnan(wide[~numbers]).all()
    np.testing.assert_array_equal(wide[numbers].view(np.uint32), plain[numbers].view(np.uint32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_narrowing_rounds_as_numpy_does(dtype: str) -> None:
    values = hard_floats()
    out = np.empty(len(values) * WIDTH[dtype], np.uint8)
    KERNELS.store(values, dtype, out)
    assert out.tobytes() == narrow(values, dtype).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None])
def test_finiteness(dtype: str, value: float | None) -> None:
    values = np.random.default_rng(1).normal(size=1003).astype(np.float32)
    if value is not None:
        values[997] = value
    raw = narrow(values, dtype)
    assert KERNELS.finite(raw, dtype) == all_finite(raw, dtype) == (value is None)


class Memory(StreamedTensor):
    """A streamed tensor whose bytes lie in memory instead of files."""

    def __init__(self, raws: list[np.ndarray], dtypes: list[str], step: int) -> None:
        size = len(raws[0]) // WIDTH[dtypes[0]]
        self.place = place_of("model.decoder.layers.0.fc1.weight", (1, size), {"decoder_layers": 2})
        self.step, self.dtypes, self._raws = step, dtypes, raws
        self._buffers, self._between = Buffers(1 << 30), lambda: None

    def keep(self) -> None:
        """Everything is kept already."""

    def raw(self, index: int, start: int, count: int) -> np.ndarray:
        width = WIDTH[self.dtypes[index]]
        return self._raws[index][start * width : (start + count) * width]


def tensor(count: int, size: int, dtypes: list[str], seed: int, step: int = 1 << 18) -> Memory:
    generator = np.random.default_rng(seed)
    base = generator.normal(0, 0.1, size).astype(np.float32)
    tuned = [base + generator.normal(0, 0.01, size).astype(np.float32) for _ in range(count)]
    return Memory([narrow(each, dtype) for each, dtype in zip(tuned, dtypes, strict=True)], dtypes, step)


def view_of(memory: Memory, arithmetic: Arithmetic, base: int | None = None) -> StreamView:
    indices = [index for index in range(len(memory.dtypes)) if index != base]
    return StreamView(memory, indices, base, arithmetic, None)


MIXES = [["F16", "F16"], ["BF16", "BF16"], ["F32", "F32"], ["F16", "BF16"], ["F32", "F16"]]


@pytest.mark.parametrize("dtypes", MIXES)
@pytest.mark.parametrize("size", [1, 31, 513, 300_001])
@pytest.mark.parametrize("base", [None, 0])
def test_gram_has_the_bits_of_its_twin(dtypes: list[str], size: int, base: int | None) -> None:
    memory = tensor(2, size, dtypes, seed=size)
    fast, plain = view_of(memory, KERNELS, base).gram(), view_of(memory, Arithmetic(), base).gram()
    assert fast.tobytes() == plain.tobytes()


def test_gram_of_five_sources_and_a_base() -> None:
    memory = tensor(6, 70_001, ["F16", "BF16", "F32", "F16", "F16", "BF16"], seed=3)
    assert view_of(memory, KERNELS, 5).gram().tobytes() == view_of(memory, Arithmetic(), 5).gram().tobytes()


@pytest.mark.parametrize("dtypes", MIXES)
@pytest.mark.parametrize("share", [0.0001, 0.2, 0.5, 0.8, 0.9999])
def test_selection_is_that_of_the_twin(dtypes: list[str], share: float) -> None:
    memory = tensor(2, 200_003, dtypes, seed=7)
    k = round(share * 200_003)
    fast, plain = (view_of(memory, arithmetic).top(Difference(0, 1), k) for arithmetic in (KERNELS, Arithmetic()))
    assert fast == plain
    values = Difference(0, 1)(view_of(memory, Arithmetic()).chunk(0, 200_003))
    assert int(fast.mask(values, 0).sum()) == k
    assert int(plain.mask(values, 0).sum()) == k


@pytest.mark.parametrize("kind", ["all equal", "mostly equal", "two values", "sorted", "one outlier"])
def test_selection_among_hard_magnitudes(kind: str) -> None:
    size = 150_000
    a = np.zeros(size, np.float32)
    b = {
        "all equal": np.ones(size),
        "mostly equal": np.where(np.arange(size) % 97 == 0, 1.0, 0.0),
        "two values": np.where(np.arange(size) % 2 == 0, 1.0, 2.0),
        "sorted": np.linspace(0, 1, size),
        "one outlier": np.where(np.arange(size) == 77_777, 5.0, 0.5),
    }[kind].astype(np.float32)
    memory = Memory([narrow(a, "F16"), narrow(b, "F16")], ["F16", "F16"], 1 << 16)
    order = np.argsort(-np.abs(widen(memory.raw(1, 0, size), "F16")), kind="stable")
    for k in (1, 2, 1000, 75_000, 149_999):
        for arithmetic in (KERNELS, Arithmetic()):
            view = view_of(memory, arithmetic)
            cut = view.top(Difference(0, 1), k)
            mask = np.concatenate([cut.mask(Difference(0, 1)(chunk), chunk.start) for chunk in view.chunks()])
            np.testing.assert_array_equal(np.flatnonzero(mask), np.sort(order[:k]))


def applied(memory: Memory, operator: Any, dtype: str, start: int = 0, count: int | None = None) -> tuple[bytes, bytes]:
    count = memory.place.size - start if count is None else count
    raws = [memory.raw(index, start, count) for index in range(len(memory.dtypes))]
    out = np.empty(count * WIDTH[dtype], np.uint8)
    assert KERNELS.apply(operator, raws, memory.dtypes, start, out, dtype)
    chunk = Chunk(tuple(widen(raw, kind) for raw, kind in zip(raws, memory.dtypes, strict=True)), None, start)
    return out.tobytes(), narrow(operator(chunk), dtype).tobytes()


@pytest.mark.parametrize("dtypes", MIXES)
@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize("coefficients", [(0.3, 0.7), (0.0, 0.9), (1.0, 0.0), (1.1, -0.3)])
def test_linear_has_the_bits_of_its_twin(dtypes: list[str], out: str, coefficients: tuple[float, float]) -> None:
    fast, plain = applied(tensor(2, 5003, dtypes, seed=11), Linear(coefficients), out)
    assert fast == plain


@pytest.mark.parametrize("dtypes", MIXES)
@pytest.mark.parametrize("weights", [(0.6, 0.4), (1.0, 0.0), (0.0, 1.0)])
@pytest.mark.parametrize(("start", "count"), [(0, 40_000), (5_000, 3_000), (20_000, 1_025)])
def test_top_blend_has_the_bits_of_its_twin(
    dtypes: list[str], weights: tuple[float, float], start: int, count: int
) -> None:
    memory = tensor(2, 40_000, dtypes, seed=13)
    cut = view_of(memory, Arithmetic()).top(Difference(0, 1), 16_000)
    tied = Cut(cut.threshold, 6_500)  # a tie in the middle of a block of the kernel
    for each in (cut, tied):
        fast, plain = applied(memory, TopBlend(each, Linear(weights), Linear((0.5, 0.5))), "F16", start, count)
        assert fast == plain


@pytest.mark.parametrize("dtypes", [["F16"] * 4, ["F32", "BF16", "F16", "F32"]])
@pytest.mark.parametrize("elect", [False, True])
@pytest.mark.parametrize("weights", [(0.5, 0.3, 0.2), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)])
@pytest.mark.parametrize(("start", "count"), [(0, 30_000), (7_000, 2_049)])
def test_delta_merge_has_the_bits_of_its_twin(
    dtypes: list[str], elect: bool, weights: tuple[float, ...], start: int, count: int
) -> None:
    memory = tensor(4, 30_000, dtypes, seed=17)
    cuts = [view_of(memory, Arithmetic(), 3).top(Difference(index, -1), 9_000) for index in range(3)]
    cuts[1] = Cut(cuts[1].threshold, 8_111)
    cuts[2] = EVERYTHING
    operator = DeltaMerge(weights, 1.3, tuple(Trim(cut) for cut in cuts), elect)
    raws = [memory.raw(index, start, count) for index in range(4)]
    out = np.empty(count * 2, np.uint8)
    assert KERNELS.apply(operator, raws, dtypes, start, out, "F16")
    wide = [widen(raw, dtype) for raw, dtype in zip(raws, dtypes, strict=True)]
    plain = operator(Chunk(tuple(wide[:3]), wide[3], start))
    assert out.tobytes() == narrow(plain, "F16").tobytes()


@pytest.mark.parametrize("upper", [None, 0x3C00 >> 1, 0x7A00 >> 1])
def test_histogram_is_that_of_the_twin(upper: int | None) -> None:
    memory = tensor(2, 100_001, ["F16", "BF16"], seed=19)
    for base in (None, 0):
        fast, plain = (view_of(memory, each, base) for each in (KERNELS, Arithmetic()))
        magnitude = Difference(0, 1) if base is None else Difference(0, -1)
        found = fast.histogram(magnitude, upper)
        np.testing.assert_array_equal(found, plain.histogram(magnitude, upper))
        assert upper is not None or found.sum() == 100_001


def test_negative_zero_survives(tmp_path: Path) -> None:
    minus = np.full(64, -0.0, np.float32)
    memory = Memory([narrow(minus, "F16"), narrow(np.ones(64, np.float32), "F16")], ["F16", "F16"], 64)
    fast, plain = applied(memory, Linear((0.25, 0.0)), "F16")
    assert fast == plain == narrow(minus, "F16").tobytes()


def test_without_a_compiler_numpy_does_the_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WHISPER_MERGE_CACHE", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda _: None)
    assert native.build() is None
    monkeypatch.setenv("WHISPER_MERGE_KERNELS", "off")
    native.load.cache_clear()
    try:
        assert native.native_arithmetic() is None
    finally:
        native.load.cache_clear()


@pytest.mark.parametrize("dtype", ["F16", "BF16", "F32"])
@pytest.mark.parametrize("size", [1, 16, 33, 5000])
def test_nan_and_infinity_are_noticed_wherever_they_are(dtype: str, size: int) -> None:
    cut = Cut(int(np.float32(0.01).view(np.int32)), -1)
    one_sided = TopBlend(cut, Linear((1.0, 0.0)), Linear((0.5, 0.5)))  # inside, what B holds does not show
    blend = TopBlend(cut, Linear((0.6, 0.4)), Linear((0.5, 0.5)))
    plain = np.random.default_rng(size).normal(0, 0.1, size).astype(np.float32)
    for operator in (Linear((0.5, 0.5)), Linear((0.0, 0.5)), blend, one_sided):
        for spoilt, value in ((0, np.nan), (1, np.inf), (1, np.nan), (None, 0.0)):
            values = [plain.copy(), plain.copy()]
            if spoilt is not None:
                values[spoilt][size // 2] = value
            raws = [narrow(each, dtype) for each in values]
            out, flags = np.empty(size * WIDTH[dtype], np.uint8), np.zeros(3, np.int32)
            assert KERNELS.apply(operator, raws, [dtype, dtype], 0, out, dtype, flags)
            assert flags[:2].tolist() == [int(spoilt == 0), int(spoilt == 1)], (operator, spoilt)
            assert bool(flags[2]) == (not all_finite(out, dtype))


def test_overflow_is_the_results_own() -> None:
    raws = [narrow(np.full(40, 60_000, np.float32), "F32") for _ in range(2)]
    out, flags = np.empty(80, np.uint8), np.zeros(3, np.int32)
    assert KERNELS.apply(Linear((1.0, 1.0)), raws, ["F32", "F32"], 0, out, "F16", flags)
    assert flags.tolist() == [0, 0, 1]
