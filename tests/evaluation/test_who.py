"""Who hears, who writes: the swap itself, the split worked out by hand, and what it suggests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.audio import AudioClip
from evaluation.manifest import Entry
from evaluation.statistics import Interval
from evaluation.who import SWAPS, Split, Swap, analyse, suggest, swapped, transcribe_swaps
from merger.checkpoint import open_checkpoint
from tests.conftest import TinyPair
from tests.evaluation.trio import load

WORDS = "а б в г д е ж з и к"


def entries(count: int) -> list[Entry]:
    return [Entry(i, f"c{i}", Path(f"c{i}.wav"), WORDS, 1.0, f"s{i}", speaker=f"v{i}") for i in range(count)]


def wrong(count: int) -> str:
    """WORDS with the first `count` of ten wrong."""
    return " ".join(["х"] * count + WORDS.split()[count:])


def texts(aa: int, ab: int, ba: int, bb: int, clips: int = 12) -> dict[Swap, list[str]]:
    return {swap: [wrong(n)] * clips for swap, n in zip(SWAPS, (aa, ab, ba, bb), strict=True)}


def test_the_split_adds_up() -> None:
    # B's encoder costs 3 words beside A's decoder and 2 beside B's; B's decoder saves 1 and 2.
    report = analyse(entries(12), texts(aa=2, ab=1, ba=5, bb=3))
    split = report.splits["wer"]
    assert split.values == {"aa": 0.2, "ab": 0.1, "ba": 0.5, "bb": 0.3}
    assert split.encoder.value == pytest.approx(0.25)
    assert split.decoder.value == pytest.approx(-0.15)
    assert split.total.value == pytest.approx(split.encoder.value + split.decoder.value) == pytest.approx(0.1)
    assert report.texts["c0"]["ba"] == wrong(5)


def test_the_suggestion_follows_who_is_better_where() -> None:
    suggestion = analyse(entries(12), texts(aa=2, ab=1, ba=5, bb=3)).suggestion
    assert suggestion is not None and suggestion.sure
    assert suggestion.encoder_weights == (0.7, 0.3) and suggestion.decoder_weights == (0.3, 0.7)
    assert (suggestion.reason.ru, suggestion.reason.en) == (
        "слышит лучше A; пишет лучше B.", "A hears better; B writes better.",
    )  # fmt: skip


def test_unsettled_sides_keep_equal_weights() -> None:
    rng = np.random.default_rng(4)
    noise = {swap: [wrong(int(n)) for n in rng.integers(0, 6, 12)] for swap in SWAPS}
    suggestion = analyse(entries(12), noise).suggestion
    assert suggestion is not None and not suggestion.sure
    assert (0.5, 0.5) in {suggestion.encoder_weights, suggestion.decoder_weights}
    assert "не показывают" in suggestion.reason.ru


@pytest.mark.parametrize(("points", "weights"), [(0.02, (0.55, 0.45)), (-0.02, (0.45, 0.55)), (0.5, (0.7, 0.3))])
def test_the_lean_is_proportional_and_bounded(points: float, weights: tuple[float, float]) -> None:
    side = Interval(points, points - 0.001, points + 0.001)
    values: dict[Swap, float] = {"aa": 0.16, "ab": 0.2, "ba": 0.2, "bb": 0.2}
    suggestion = suggest(Split("wer", values, side, side, side))
    assert suggestion.encoder_weights == weights == suggestion.decoder_weights


def test_swapped_hears_with_one_and_writes_with_the_other(trio: TinyPair) -> None:
    a, b = load(trio.a)[0], load(trio.b)[0]
    features = torch.randn(1, 80, 3000, generator=torch.Generator().manual_seed(1))
    ids = torch.tensor([[257, 259, 261]])
    with torch.inference_mode():
        heard = a.model.encoder(features)
        expected = b(encoder_outputs=heard, decoder_input_ids=ids).logits
        own = b(features, decoder_input_ids=ids).logits
        with swapped(a, b) as module:
            assert torch.equal(module(features, decoder_input_ids=ids).logits, expected)
        assert torch.equal(b(features, decoder_input_ids=ids).logits, own)
    assert not torch.equal(expected, own)


def test_the_plain_pair_is_among_the_swaps(trio: TinyPair) -> None:
    from evaluation.batch import BatchTranscriber
    from evaluation.transcriber import TranscribeOptions

    rng = np.random.default_rng(2)
    clips: Sequence[AudioClip] = [
        AudioClip.from_samples(rng.normal(0, 0.1, 16_000 * n).astype(np.float32), 16_000) for n in (1, 2, 3)
    ]
    found = transcribe_swaps(open_checkpoint(trio.a), open_checkpoint(trio.b), clips, device="cpu")
    for swap, folder in (("aa", trio.a), ("bb", trio.b)):
        alone = dict(BatchTranscriber(*load(folder)).transcribe(clips, TranscribeOptions()))
        assert found[swap] == [alone[i].text for i in range(3)]  # type: ignore[index]
