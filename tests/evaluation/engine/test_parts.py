"""The engine's parts: forward pass, rules, drafts, caches, CPU arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from transformers.generation.logits_process import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)

from evaluation.engine import cpu
from evaluation.engine.byte_cache import ByteCache
from evaluation.engine.drafts import Proposer, propose
from evaluation.engine.model import Caches, decode_many, decode_rows, encode, fill_cross, logits
from evaluation.engine.rules import Rules
from evaluation.engine.tensors import collect
from evaluation.vocabulary import Vocabulary
from tests.evaluation.engine.tiny_whisper import NO_TIMESTAMPS, START, make_module, make_processor

STAMP = NO_TIMESTAMPS + 1
PROMPT = [START, START + 2, START + 4]


@pytest.fixture(scope="module")
def heard() -> tuple[torch.nn.Module, torch.Tensor, torch.Tensor]:
    """A module, two windows of features and the module's own encoder output."""
    module = make_module(0, d_model=64, heads=4)
    features = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0)) * 0.3
    with torch.inference_mode():
        return module, features, module.model.encoder(features).last_hidden_state


@torch.inference_mode()
def test_encoder_equals_transformers(heard: tuple[torch.nn.Module, torch.Tensor, torch.Tensor]) -> None:
    module, features, expected = heard
    assert torch.allclose(encode(collect(module), features), expected, atol=2e-4)


@torch.inference_mode()
def test_decoder_equals_transformers_whole_split_and_by_rows(
    heard: tuple[torch.nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    module, _, sound = heard
    tokens = torch.randint(0, 256, (2, 12), generator=torch.Generator().manual_seed(1))
    expected = module(encoder_outputs=(sound,), decoder_input_ids=tokens).logits
    tensors = collect(module)
    caches = Caches(tensors, batch=2)
    fill_cross(tensors, sound, caches)
    whole = logits(tensors, decode_many(tensors, caches, tokens, 0))
    assert torch.allclose(whole, expected, atol=2e-3)
    split = [decode_many(tensors, caches, tokens[:, a:b], a) for a, b in ((0, 3), (3, 4), (4, 9), (9, 12))]
    assert torch.allclose(logits(tensors, torch.cat(split, 1)), expected, atol=2e-3)
    # Rows at different positions: row 0 takes its 10th token, row 1 its 5th; what lies beyond must not be looked at.
    positions = torch.tensor([9, 4])
    picked = tokens[torch.arange(2), positions]
    rows = logits(tensors, decode_rows(tensors, caches, picked, positions, 16))
    assert torch.allclose(rows, expected[torch.arange(2), positions], atol=2e-3)


def test_fused_projection_is_a_view_where_the_storage_allows_it() -> None:
    module = make_module(0)
    attention = module.model.decoder.layers[0].self_attn
    assert collect(module).decoder[0].attn.fused is None
    d = 32
    flat = torch.zeros(3 * d * d + 3 * d)
    for index, part in enumerate((attention.q_proj, attention.k_proj, attention.v_proj)):
        view = flat[index * d * d : (index + 1) * d * d].view(d, d)
        part.weight = torch.nn.Parameter(view.copy_(part.weight.detach()))
        if part.bias is not None:
            bias = flat[3 * d * d + index * d : 3 * d * d + (index + 1) * d]
            part.bias = torch.nn.Parameter(bias.copy_(part.bias.detach()))
    fused = collect(module).decoder[0].attn.fused
    assert fused is not None and fused[0].data_ptr() == flat.data_ptr()
    x = torch.randn(5, d)
    parts = torch.cat([part(x) for part in (attention.q_proj, attention.k_proj, attention.v_proj)], dim=1)
    assert torch.allclose(F.linear(x, *fused), parts, atol=1e-5)


def vocabulary() -> Vocabulary:
    return Vocabulary.of(make_module(0), make_processor().tokenizer)


@pytest.mark.parametrize("timestamps", [True, False])
def test_rules_equal_those_of_transformers(timestamps: bool) -> None:
    module = make_module(0)
    settings = module.generation_config
    begin = len(PROMPT)
    processors = [
        SuppressTokensAtBeginLogitsProcessor(settings.begin_suppress_tokens, begin),
        SuppressTokensLogitsProcessor(settings.suppress_tokens),
    ]
    if timestamps:
        processors.append(WhisperTimeStampLogitsProcessor(settings, begin))
    rules = Rules(vocabulary(), timestamps, torch.device("cpu"))
    random = torch.Generator().manual_seed(0)
    sequences = [
        [], [STAMP], [STAMP + 3, 5], [STAMP, 5, STAMP + 9], [STAMP, 5, STAMP + 9, STAMP + 9],
        [STAMP, 5, STAMP + 9, STAMP + 9, 6], [5], [5, 6], [STAMP + 1500, 4], [STAMP + 2, 4, STAMP + 1500],
    ]  # fmt: skip
    for tokens in sequences:
        for lift in (-6.0, 0.0, 6.0):  # of the timestamps against the text: both sides of the last rule
            scores = torch.randn(1, rules.vocabulary.size, generator=random)
            scores[:, STAMP:] += lift
            expected = scores.clone()
            for processor in processors:
                expected = processor(torch.tensor([PROMPT + tokens]), expected)
            history = rules.history()
            for token in tokens:
                history = history.after(token)
            masked = scores.clone()
            choice, margin = rules.choose(masked, [history], want_margins=True)
            assert torch.equal(masked.isinf(), expected.isinf()), tokens
            assert choice.item() == expected.argmax().item()
            assert margin is not None and margin.item() >= 0


def test_a_margin_is_small_near_a_tie_of_tokens_and_of_kinds() -> None:
    rules = Rules(vocabulary(), True, torch.device("cpu"))
    history = rules.history().after(STAMP).after(5)
    scores = torch.full((1, rules.vocabulary.size), -50.0)
    scores[0, 65], scores[0, 66] = 10.0, 9.75
    margin = rules.choose(scores.clone(), [history], want_margins=True)[1]
    assert margin is not None and margin.item() == pytest.approx(0.25)
    scores[0, 66], scores[0, STAMP + 9] = 5.0, 10.5
    margin = rules.choose(scores.clone(), [history], want_margins=True)[1]
    assert margin is not None and margin.item() == pytest.approx(0.5, abs=1e-4)


def test_drafts_start_with_the_first_source_and_resume_after_a_match() -> None:
    sources = [[1, 2, 3, 4, 5, 6], [9, 2, 7, 4, 5, 8]]
    assert propose([], sources, 4) == [1, 2, 3, 4]
    assert propose([1, 2, 7, 4, 5], sources, 10) == [8]  # the longest match: "2 7 4 5" stands in the second source
    assert propose([0, 0, 0, 4, 5], sources, 10) == [6]  # equal matches: the first source
    assert propose([1, 2], [[1, 2, 3, 1, 2, 4]], 1) == [3]  # equal matches: the nearest place
    assert propose([1, 2, 3, 9, 1, 2], [[1, 2, 3, 1, 2, 4]], 1) == [4]
    assert propose([3], sources, 10) == [] and propose([8, 8], sources, 10) == []
    assert propose([4, 5], sources, 0) == [] and propose([], [], 5) == []


def test_offers_are_short_after_a_refusal_and_rarer_while_they_fail() -> None:
    source = list(range(100))
    proposer = Proposer([source])
    assert proposer.propose([], 200) == source
    proposer.learn(11, 100, 10)  # cut short
    assert proposer.propose([4, 5], 200) == source[6:13]
    proposer.learn(13, 7, 7)  # confirmed whole: the rest
    assert proposer.propose([4, 5], 200) == source[6:]
    for written, pause in ((14, 2), (20, 4), (30, 8), (40, 8)):
        proposer.learn(written, 7, 0)
        last = [0] * (written + pause - 3) + [4, 5]
        assert proposer.propose(last, 200) == [], f"{pause} tokens without an offer"
        assert proposer.propose([0, *last], 200) == source[6:13]
    proposer.learn(50, 3, 3)  # a source's last three tokens say little
    assert proposer.propose([0] * 50 + [4, 5], 200) == source[6:13]
    proposer.learn(53, 7, 1)
    proposer.learn(54, 7, 0)
    assert proposer.propose([0] * 54 + [4, 5], 200) == source[6:13], "two tokens, as after a first refusal"


def test_the_byte_cache_lets_go_of_what_was_used_least_recently() -> None:
    cache = ByteCache[str](10, len)
    for key in "abc":
        cache.put(key, key * 3)
    assert cache.get("a") == "aaa" and cache.nbytes == 9
    cache.put("d", "dddd")  # 13 bytes: b goes, then 10 fit
    assert [cache.get(key) for key in "abcd"] == ["aaa", None, "ccc", "dddd"]
    cache.put("a", "a")
    assert cache.nbytes == 8 and len(cache) == 3
    cache.put("huge", "x" * 11)
    assert cache.get("huge") is None and cache.nbytes == 8
    cache.clear()
    assert (len(cache), cache.nbytes) == (0, 0)


def test_cpu_products_equal_torch() -> None:
    x, weight, bias = torch.randn(40, 24), torch.randn(16, 24), torch.randn(16)
    assert torch.allclose(cpu.linear(x, weight, bias), F.linear(x, weight, bias), atol=1e-5)
    assert torch.allclose(cpu.linear(x[0], weight), F.linear(x[0], weight), atol=1e-5)
    assert torch.allclose(cpu.linear_gelu(x, weight, bias), F.gelu(F.linear(x, weight, bias)), atol=1e-5)
    large, wide = torch.randn(2049, 128), torch.randn(2049)  # read by oneDNN for a single row too
    if cpu.has_onednn():
        assert cpu._suits_onednn(x) and cpu._suits_onednn(x[0], large) and not cpu._suits_onednn(x[0], weight)
        assert not cpu._suits_onednn(x, weight, large[:16, 0]), "a bias with gaps, which oneDNN reads without"
    for rows in (1, 3):
        y = torch.randn(rows, 128)
        assert torch.allclose(cpu.linear(y, large, wide), F.linear(y, large, wide), atol=1e-4)
        assert torch.allclose(cpu.linear_gelu(y, large, None), F.gelu(F.linear(y, large)), atol=1e-4)
    assert torch.allclose(cpu.linear(y, large, large[:, 0]), F.linear(y, large, large[:, 0]), atol=1e-4)
    for queries in (1, 63, 64, 701):
        q, k, v = (torch.randn(2, 3, count, 8) for count in (queries, 600, 600))
        assert torch.allclose(cpu.attend(q, k, v), F.scaled_dot_product_attention(q, k, v), atol=1e-5)


def test_few_queries_are_left_to_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    plain = F.scaled_dot_product_attention

    def noting(q: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        asked.append(q.shape[2])
        return plain(q, *rest)

    monkeypatch.setattr(F, "scaled_dot_product_attention", noting)
    k, v = torch.randn(1, 1, 600, 8), torch.randn(1, 1, 600, 8)
    for queries in (1, 8, 63, 64, 65):
        cpu.attend(torch.randn(1, 1, queries, 8), k, v)
    assert asked == ([1, 8, 63] if cpu.has_onednn() else [1, 8, 63, 64, 65])


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with cpu.threads(1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    assert 1 <= cpu.fastest_threads(lambda: torch.ones(8).sum(), repeats=1) <= before
