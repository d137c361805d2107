"""The training pipeline at toy scale: a pool of noise, a few steps, an export that transformers reads."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from demo.speech.degrade import CLEAN
from demo.training import export, train, validate
from demo.training.network import Network, NetworkSize
from demo.training.tokenizer import build_processor
from demo.training.windows import IGNORED, LETTERS, SAMPLE_RATE, BatchPlanner, LogMel, SpeechPool, to_letters

SENTENCES = ["Поезд прибывает на третью платформу.", "Слушай, купи хлеба и молока.", "Всё ещё идёт дождь."]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def processor() -> WhisperProcessor:
    return build_processor(SENTENCES, text_tokens=290)


@pytest.fixture
def pool(processor: WhisperProcessor, tmp_path: Path) -> SpeechPool:
    """Three "sentences" of 1, 2 and 3 s: constants 100, 200, 300, so that every sample tells where it comes from."""
    lengths = np.array([1, 2, 3]) * SAMPLE_RATE
    samples = np.repeat(np.array([100, 200, 300], np.int16), lengths)
    np.savez(tmp_path / "00000.npz", samples=samples, lengths=lengths, lines=np.arange(3))
    (tmp_path / "done").touch()
    plan = [
        {"text": text, "domain": domain, "style": style}
        for text, domain, style in zip(SENTENCES, "ABA", ("formal", "colloquial", "formal"), strict=True)
    ]
    pool = SpeechPool(tmp_path, plan, processor.tokenizer, CPU, hours=0.01)
    assert pool.refresh()
    return pool


@pytest.fixture(scope="module")
def network(processor: WhisperProcessor) -> Network:
    torch.manual_seed(0)
    size = NetworkSize(len(processor.tokenizer), width=64, heads=1, encoder_layers=2, decoder_layers=1, dropout=0.0)
    return Network(size)


def test_tokens_stand_in_whispers_order(processor: WhisperProcessor) -> None:
    tokenizer = processor.tokenizer
    names = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|ru|>", "<|notimestamps|>", "<|0.00|>", "<|30.00|>"]
    end, start, english, russian, without, first, last = tokenizer.convert_tokens_to_ids(names)
    assert (start - end, english - start, first - without, last - first) == (1, 1, 1, 1500)
    assert tokenizer.prefix_tokens == [start, russian, tokenizer.convert_tokens_to_ids("<|transcribe|>"), without]
    ids = tokenizer(" " + SENTENCES[1], add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == " " + SENTENCES[1]
    assert max(ids) < end


def test_row_holds_sentences_where_its_timestamps_say(pool: SpeechPool) -> None:
    planner = BatchPlanner(pool, timestamps=1.0, empty=0.0, seed=3)
    plan = planner.full(np.arange(3), rows=8, text=400)
    for row in range(8):
        stamps = [int(t) - planner.first_timestamp for t in plan.tokens[row] if t >= planner.first_timestamp]
        placed = [(o, n) for o, n in zip(plan.offset[row], plan.length[row], strict=True) if n]
        expected = [round(sample / SAMPLE_RATE / 0.02) for o, n in placed for sample in (o, o + n)]
        assert stamps == expected
        assert plan.tokens[row][plan.tokens[row] != IGNORED][-1] == planner.end


def test_placed_samples_are_the_pools(pool: SpeechPool) -> None:
    from demo.training.windows import Ear

    planner = BatchPlanner(pool, timestamps=0.0, empty=0.0, seed=1)
    plan = planner.short(np.array([1]), rows=2, window=3 * SAMPLE_RATE, text=60)
    speech = Ear(pool, CLEAN, seed=0)._place(plan)
    for row in range(2):
        start = int(plan.offset[row, 0])
        assert torch.equal(speech[row, start : start + 2 * SAMPLE_RATE], torch.full((2 * SAMPLE_RATE,), 200 / 32768))
        assert speech[row].count_nonzero() == 2 * SAMPLE_RATE


def test_letters_are_ctc_classes() -> None:
    spelled = to_letters("Ёж, да!")
    assert [LETTERS[i - 1] for i in spelled] == ["ё", "ж", " ", "д", "а"]
    assert 0 not in spelled


def test_log_mel_is_the_processors(processor: WhisperProcessor) -> None:
    samples = torch.randn(1, 30 * SAMPLE_RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    reference = processor.feature_extractor(samples[0].numpy(), sampling_rate=SAMPLE_RATE, return_tensors="pt")
    assert torch.allclose(LogMel(CPU)(samples), reference.input_features, atol=1e-5)


def test_a_stage_learns_and_saves(pool: SpeechPool, network: Network, tmp_path: Path) -> None:
    trainer = train.Trainer(network, pool, train.STAGES["base"], seed=0, compiled=False)
    plan = trainer.planner.short(np.arange(3), rows=3, window=57_600, text=56)
    first = trainer.step(plan)
    for _ in range(12):
        last = trainer.step(plan)
    assert last[0] < first[0]
    train.save_network(network, tmp_path / "n.pt")
    restored = train.load_network(tmp_path / "n.pt", CPU)
    assert all(torch.equal(x, network.state_dict()[name]) for name, x in restored.state_dict().items())


def test_stages_choose_their_own_domain(pool: SpeechPool) -> None:
    chosen = {name: stage.own(pool).tolist() for name, stage in train.STAGES.items()}
    assert chosen == {"base": [0, 1, 2], "a": [0, 2], "b": [1]}


def test_exported_folder_computes_the_same(network: Network, processor: WhisperProcessor, tmp_path: Path) -> None:
    network.eval()
    log_mel, tokens = torch.randn(2, 80, 3000), torch.randint(0, 290, (2, 7))
    with torch.no_grad():
        logits, _ = network(log_mel, tokens)
        module = export.to_transformers(network, processor, [[0, 0]])
        assert torch.equal(module(input_features=log_mel, decoder_input_ids=tokens).logits, logits)
    processor.save_pretrained(tmp_path / "processor")
    export.save_folder(network, tmp_path / "processor", tmp_path / "folder", [[0, 0]])
    loaded, report = WhisperForConditionalGeneration.from_pretrained(tmp_path / "folder", output_loading_info=True)
    assert not any(report.values())
    half = network.state_dict()["model.encoder.layers.1.fc1.weight"].half()
    assert torch.equal(loaded.state_dict()["model.encoder.layers.1.fc1.weight"], half)
    assert (
        WhisperProcessor.from_pretrained(tmp_path / "folder").tokenizer.get_vocab() == processor.tokenizer.get_vocab()
    )


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [("мама мыла раму", "мама мыла раму", 0), ("мама мыла раму", "мама раму", 1), ("а б", "в г д", 3), ("", "а", 1)],
)
def test_word_errors(reference: str, hypothesis: str, errors: int) -> None:
    assert validate.word_errors(reference.split(), hypothesis.split()) == errors


def test_mixture_is_linear(network: Network) -> None:
    other = Network(network.size)
    merged = validate.mixed(network, other, 0.25).state_dict()["model.decoder.layers.0.fc2.bias"]
    a, b = (n.state_dict()["model.decoder.layers.0.fc2.bias"] for n in (network, other))
    assert torch.equal(merged, 0.25 * a + 0.75 * b)
