"""Small real models, made on the spot: checkpoints that transformers loads, with a byte-level processor."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

TIMESTAMPS = [f"<|{index * 0.02:.2f}|>" for index in range(1501)]
SPECIAL = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|ru|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TINY: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_mel_bins": 80,
    "max_source_positions": 1500,
    "max_target_positions": 64,
    "pad_token_id": 256,
    "bos_token_id": 256,
    "eos_token_id": 256,
    "decoder_start_token_id": 257,
}


@cache
def byte_alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes that byte-level BPE uses, in the order of the bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    stand_ins = {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
    return [stand_ins[byte] for byte in range(256)]


def vocabulary_size() -> int:
    """Bytes, special tokens and timestamps."""
    return 256 + len(SPECIAL) + len(TIMESTAMPS)


def save_processor(folder: Path, mel_bins: int = 80) -> None:
    """A real WhisperProcessor: one token per byte, all special tokens and timestamps, `mel_bins` features."""
    from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(byte_alphabet())}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    tokenizer = WhisperTokenizer(vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"))
    tokenizer.add_tokens(SPECIAL, special_tokens=True)
    tokenizer.add_tokens(TIMESTAMPS)
    WhisperProcessor(WhisperFeatureExtractor(feature_size=mel_bins), tokenizer).save_pretrained(folder)


def generation_settings() -> dict[str, Any]:
    """What a multilingual Whisper's generation_config.json holds."""
    first = 256
    ids = {token: first + index for index, token in enumerate(SPECIAL)}
    return {
        "is_multilingual": True,
        "lang_to_id": {"<|en|>": ids["<|en|>"], "<|ru|>": ids["<|ru|>"]},
        "task_to_id": {"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]},
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "bos_token_id": ids["<|endoftext|>"],
        "max_length": 64,
        "max_initial_timestamp_index": 50,
        "alignment_heads": [[1, 0], [1, 1]],
        "suppress_tokens": [],
        "begin_suppress_tokens": [],
        "return_timestamps": False,
    }


def make_whisper_folder(
    path: str | Path,
    seed: int,
    *,
    ancestor: str | Path | None = None,
    distance: float = 0.05,
    dtype: str = "float16",
    max_shard_size: str = "5GB",
    **config: Any,
) -> Path:
    """A loadable Whisper folder with random weights, config `TINY` overridden by `config`, and its processor.

    With `ancestor` the weights are those of that folder plus noise of the relative size `distance`: a fine-tune.
    """
    import torch
    from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

    folder = Path(path)
    settings = {**TINY, "vocab_size": vocabulary_size(), **config}
    generator = torch.Generator().manual_seed(seed)
    if ancestor is None:
        torch.manual_seed(seed)
        model = WhisperForConditionalGeneration(WhisperConfig(**settings))
    else:
        model = WhisperForConditionalGeneration.from_pretrained(ancestor, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("encoder.embed_positions.weight"):
                continue  # fixed sinusoids
            noise = torch.randn(parameter.shape, generator=generator)
            scale = parameter.float().std().nan_to_num(0.0) if parameter.numel() > 1 else torch.tensor(0.0)
            parameter.add_(noise * ((scale + 0.02) * (1.0 if ancestor is None else distance)))
    model.generation_config = GenerationConfig(**generation_settings())
    model.to(getattr(torch, dtype)).save_pretrained(folder, max_shard_size=max_shard_size)
    save_processor(folder, settings["num_mel_bins"])
    return folder
