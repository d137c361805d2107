"""Turns training checkpoints into real Whisper folders: fp16 safetensors, configs and the processor's files.

    python -m demo.training.export base.pt --processor DIR --out demo/models/base

Weights are rounded once to fp16. The folder loads with `WhisperForConditionalGeneration.from_pretrained` and
`WhisperProcessor.from_pretrained` without a warning.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration, WhisperProcessor
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from demo.training.network import Network, NetworkSize
from demo.training.train import load_network

SHARD = "9MB"  # every file stays under 10 MB


def whisper_config(size: NetworkSize, processor: WhisperProcessor) -> WhisperConfig:
    special = processor.tokenizer.convert_tokens_to_ids
    end, start = special("<|endoftext|>"), special("<|startoftranscript|>")
    return WhisperConfig(
        vocab_size=size.vocabulary,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        num_mel_bins=size.mel_bins,
        max_source_positions=size.audio_positions,
        max_target_positions=size.text_positions,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        dtype="float16",
    )


def generation_config(
    size: NetworkSize, processor: WhisperProcessor, alignment_heads: list[list[int]]
) -> GenerationConfig:
    """Russian transcription; alignment_heads are [layer, head] pairs of the decoder's cross-attention."""
    special = processor.tokenizer.convert_tokens_to_ids
    end, start, space = special("<|endoftext|>"), special("<|startoftranscript|>"), special("Ġ")
    return GenerationConfig(
        alignment_heads=alignment_heads,
        begin_suppress_tokens=[space, end],
        suppress_tokens=[
            start,
            *(special(t) for t in ("<|translate|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>")),
        ],
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={f"<|{code}|>": special(f"<|{code}|>") for code in LANGUAGES},
        task_to_id={task: special(f"<|{task}|>") for task in ("transcribe", "translate")},
        language="<|ru|>",
        task="transcribe",
        no_timestamps_token_id=special("<|notimestamps|>"),
        prev_sot_token_id=special("<|startofprev|>"),
        return_timestamps=False,
        max_initial_timestamp_index=50,
        max_length=size.text_positions,
    )


def to_transformers(
    network: Network, processor: WhisperProcessor, alignment_heads: list[list[int]]
) -> WhisperForConditionalGeneration:
    """The same network as a transformers module in float32."""
    module = WhisperForConditionalGeneration(whisper_config(network.size, processor))
    weights = dict(network.state_dict())
    weights["proj_out.weight"] = weights["model.decoder.embed_tokens.weight"]  # Whisper's head is tied
    module.load_state_dict(weights, strict=True)
    module.generation_config = generation_config(network.size, processor, alignment_heads)
    return module.eval()


def save_folder(network: Network, processor_folder: Path, out: Path, alignment_heads: list[list[int]]) -> None:
    processor = WhisperProcessor.from_pretrained(processor_folder)
    to_transformers(network, processor, alignment_heads).half().save_pretrained(out, max_shard_size=SHARD)
    processor.save_pretrained(out)
    # Older readers of Whisper folders look for these files by name.
    processor.feature_extractor.save_pretrained(out)
    backend = json.loads(processor.tokenizer.backend_tokenizer.to_str())["model"]
    (out / "vocab.json").write_text(json.dumps(backend["vocab"], ensure_ascii=False), encoding="utf-8")
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in backend["merges"]]
    (out / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--processor", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--alignment-heads", type=json.loads, help="[[layer, head], …]; default: all of the last layer")
    arguments = parser.parse_args()
    network = load_network(arguments.checkpoint, torch.device("cpu"))
    last = network.size.decoder_layers - 1
    heads = arguments.alignment_heads or [[last, head] for head in range(network.size.heads)]
    save_folder(network, arguments.processor, arguments.out, heads)


if __name__ == "__main__":
    main()
