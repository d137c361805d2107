"""Builds the demo's Whisper processor: byte-level BPE for Russian and the full set of Whisper's special tokens.

Token order as in Whisper (Radford et al. 2022; openai/whisper `tokenizer.py`): text, <|endoftext|>,
<|startoftranscript|>, the languages, <|translate|>, <|transcribe|>, <|startoflm|>, <|startofprev|>, <|nospeech|>,
<|notimestamps|>, <|0.00|> … <|30.00|>. transformers computes a language's id from the place of <|startoftranscript|>,
so all languages are there although one is spoken.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

TASK_TOKENS = [
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIMESTAMPS = 1501  # 0.00 s to 30.00 s in steps of 0.02 s


def build_processor(sentences: Iterable[str], text_tokens: int = 1000) -> WhisperProcessor:
    """Trains the BPE on `sentences` (each is learnt with the leading space that Whisper writes)."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=text_tokens, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator((" " + sentence for sentence in sentences), trainer)
    bpe_model = bpe.get_vocab()
    merges = _merges(bpe)
    tokenizer = WhisperTokenizer(
        vocab={**bpe_model, "<|endoftext|>": len(bpe_model)}, merges=merges, pad_token="<|endoftext|>"
    )
    languages = [f"<|{code}|>" for code in LANGUAGES]
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|startoftranscript|>", *languages, *TASK_TOKENS]})
    tokenizer.add_tokens(
        [AddedToken(f"<|{i * 0.02:.2f}|>", special=False, normalized=False) for i in range(TIMESTAMPS)]
    )
    tokenizer.set_prefix_tokens(language="ru", task="transcribe", predict_timestamps=False)
    return WhisperProcessor(WhisperFeatureExtractor(feature_size=80), tokenizer)


def _merges(bpe: Tokenizer) -> list[tuple[str, str]]:
    import json

    return [tuple(pair) for pair in json.loads(bpe.to_str())["model"]["merges"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", type=Path, nargs="+", help="files with one sentence per line")
    parser.add_argument("--out", type=Path, required=True, help="folder for the processor's files")
    parser.add_argument("--text-tokens", type=int, default=1000)
    arguments = parser.parse_args()
    sentences = [line for path in arguments.texts for line in path.read_text(encoding="utf-8").splitlines()]
    build_processor(sentences, arguments.text_tokens).save_pretrained(arguments.out)


if __name__ == "__main__":
    main()
