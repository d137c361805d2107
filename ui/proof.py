"""The proof that what was saved is what was heard: tensor by tensor, and by what both write."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.audio import AudioClip
from evaluation.generate import HuggingFaceTranscriber
from merger.checkpoint import open_checkpoint
from merger.errors import Cancelled
from merger.recipe import MergeRecipe
from ui.executor import OPTIONS, Poll, Proof


def prove(loaded: Any, recipe: MergeRecipe, folder: Path, clip: AudioClip | None, cancelled: Poll) -> Proof:
    """`loaded` is the pair in memory (`local_executor.LoadedPair`). Raises Cancelled between tensors."""
    loaded.live.apply(recipe, cancelled)
    with loaded.live.lend("merged") as module:
        equal, total = tensors_equal(folder, module.state_dict(), cancelled)
    if clip is None:
        return Proof(equal, total)
    live = loaded.listen.transcribe("merged", clip, OPTIONS, cancelled)
    return Proof(equal, total, live.text, _saved_text(folder, loaded.live, clip, cancelled))


def tensors_equal(folder: Path, live: Mapping[str, Any], cancelled: Poll) -> tuple[int, int]:
    """(how many saved tensors equal the live ones bit for bit in the saved precision, how many there are)."""
    import torch
    from safetensors import safe_open

    equal = total = 0
    for file in open_checkpoint(folder).files:
        with safe_open(file, framework="pt") as saved:
            for name in saved.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                if cancelled():
                    raise Cancelled
                tensor = saved.get_tensor(name)
                total += 1
                equal += int(torch.equal(tensor, live[name].to("cpu", tensor.dtype)))
    return equal, total


def _saved_text(folder: Path, live: Any, clip: AudioClip, cancelled: Poll) -> str:
    """What transformers' own `generate` writes with the saved folder, on the live merge's device and precision."""
    from transformers import WhisperForConditionalGeneration, WhisperProcessor

    module = WhisperForConditionalGeneration.from_pretrained(folder, dtype=live.dtype).to(live.device).eval()
    transcriber = HuggingFaceTranscriber(module, WhisperProcessor.from_pretrained(folder))
    return transcriber.transcribe(clip, OPTIONS, cancelled).text
