"""A quick WER of training checkpoints and of their linear mixtures on the rendered test sets, while training runs.

    python -m demo.training.validate --processor DIR --sets FOLDER base.pt a.pt b.pt [--mix a.pt b.pt]

Greedy, without timestamps, on 30 s windows. The figures that are reported come from the finished models through
`python -m evaluation`; these decide whether a run is worth keeping.
"""

from __future__ import annotations

import argparse
import json
import wave
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import WhisperProcessor, WhisperTokenizer

from demo.training.network import Network
from demo.training.train import load_network
from demo.training.windows import MAX_WINDOW, LogMel

LONGEST = 72  # tokens; test sentences have up to 12 words


def words_of(text: str) -> list[str]:
    kept = "".join(letter if letter.isalpha() else " " for letter in text.lower().replace("ё", "е"))
    return kept.split()


def word_errors(reference: list[str], hypothesis: list[str]) -> int:
    """Levenshtein distance over words."""
    row = list(range(len(hypothesis) + 1))
    for i, word in enumerate(reference, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(hypothesis, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1]


@torch.inference_mode()
def transcribe(network: Network, log_mel: Tensor, tokenizer: WhisperTokenizer) -> list[str]:
    """Greedy text for log_mel float32[rows, 80, 3000]; the prefix is decoded anew at every step (the net is tiny)."""
    device = log_mel.device
    special = tokenizer.convert_tokens_to_ids
    prompt = [special(t) for t in ("<|startoftranscript|>", "<|ru|>", "<|transcribe|>", "<|notimestamps|>")]
    end = special("<|endoftext|>")
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        memory = network.model["encoder"](log_mel)
        line = torch.tensor([prompt] * len(log_mel), device=device)
        ended = torch.zeros(len(log_mel), dtype=torch.bool, device=device)
        for _ in range(LONGEST):
            logits = network.model["decoder"](line, memory)[:, -1].float()
            logits[:, end + 1 :] = -torch.inf
            token = torch.where(ended, end, logits.argmax(-1))
            ended |= token == end
            line = torch.cat([line, token[:, None]], dim=1)
            if bool(ended.all()):
                break
    return tokenizer.batch_decode(line, skip_special_tokens=True)


def read_sets(folder: Path) -> dict[str, tuple[list[str], np.ndarray]]:
    """Per set: references and int16[clips, 30 s] samples."""
    sets: dict[str, tuple[list[str], list[np.ndarray]]] = {}
    for text in (folder / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        with wave.open(str(folder / line["audio_filepath"])) as file:
            samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
        references, clips = sets.setdefault(line["set"], ([], []))
        references.append(line["text"])
        clips.append(np.pad(samples[:MAX_WINDOW], (0, max(0, MAX_WINDOW - len(samples)))))
    return {name: (references, np.stack(clips)) for name, (references, clips) in sets.items()}


def mixed(a: Network, b: Network, share: float) -> Network:
    """share · A + (1 − share) · B."""
    merged = Network(a.size).to(next(a.parameters()).device)
    other = b.state_dict()
    merged.load_state_dict(
        {name: share * weight + (1 - share) * other[name] for name, weight in a.state_dict().items()}
    )
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", type=Path, nargs="*")
    parser.add_argument("--mix", type=Path, nargs=2, metavar=("A", "B"))
    parser.add_argument("--processor", type=Path, required=True)
    parser.add_argument("--sets", type=Path, required=True)
    parser.add_argument("--show", type=int, default=0, help="print this many transcripts per set")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokenizer = WhisperProcessor.from_pretrained(arguments.processor).tokenizer
    ear, sets = LogMel(device), read_sets(arguments.sets)
    networks = {path.stem: load_network(path, device) for path in arguments.checkpoints}
    if arguments.mix:
        pair = [load_network(path, device) for path in arguments.mix]
        networks |= {f"direct {share}": mixed(*pair, share) for share in (0.75, 0.5, 0.25)}
    print(f"{'':14}" + "".join(f"{name:>18}" for name in sets))
    for label, network in networks.items():
        network.eval()
        row = []
        for name, (references, clips) in sets.items():
            log_mel = torch.cat(
                [ear(torch.from_numpy(part).to(device).float() / 32768) for part in np.array_split(clips, 4)]
            )
            texts = transcribe(network, log_mel, tokenizer)
            pairs = [(words_of(r), words_of(t)) for r, t in zip(references, texts, strict=True)]
            row.append(100 * sum(word_errors(r, t) for r, t in pairs) / sum(len(r) for r, _ in pairs))
            for reference, text in list(zip(references, texts, strict=True))[: arguments.show]:
                print(f"    {name}: {reference}  →  {text.strip()}")
        print(f"{label:14}" + "".join(f"{wer:18.1f}" for wer in row), flush=True)


if __name__ == "__main__":
    main()
