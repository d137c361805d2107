"""The files beside the weights: taken from a donor, completed from the other sources where it lacks one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.checkpoint import SIDECARS, Checkpoint, read_json
from merger.dtypes import TORCH_NAMES

# One of each group is enough for transformers.
GROUPS = (
    ("generation_config.json",),
    ("preprocessor_config.json", "processor_config.json"),
    ("tokenizer.json", "vocab.json"),
)
TOKENIZER = frozenset(SIDECARS) - {
    "config.json", "generation_config.json", "preprocessor_config.json", "processor_config.json",
}  # fmt: skip
# Says where the donor came from, which is not where the result came from.
DROPPED = ("_name_or_path", "transformers_version")


def write_sidecars(
    folder: Path, sources: Sequence[Checkpoint], donor: Checkpoint, dtype: str, own_head: bool
) -> list[Text]:
    """Write every sidecar into `folder`; returns warnings that name what came from elsewhere or is missing."""
    chosen, warnings = _choose(sources, donor)
    for name, path in sorted(chosen.items()):
        shutil.copyfile(path, folder / name)
    config = dict(donor.config)
    for key in DROPPED:
        config.pop(key, None)
    config["torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"] = TORCH_NAMES[dtype]
    if own_head:
        config["tie_word_embeddings"] = False
    text = json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    return warnings


def _choose(sources: Sequence[Checkpoint], donor: Checkpoint) -> tuple[dict[str, Path], list[Text]]:
    chosen = {name: path for name, path in donor.sidecars.items() if name != "config.json"}
    warnings: list[Text] = []
    bins = donor.config.get("num_mel_bins")
    if _stale(chosen, bins):
        chosen.pop("preprocessor_config.json", None)
        chosen.pop("processor_config.json", None)
        warnings.append(
            Text(
                f"preprocessor_config.json у «{donor.name}» от другой версии Whisper и не взят.",
                f"The preprocessor_config.json of “{donor.name}” belongs to another Whisper and was left out.",
            )
        )
    for group in GROUPS:
        if any(name in chosen for name in group):
            continue
        giver = next((model for model in sources if _offers(model, group, bins)), None)
        if giver is None:
            names = " / ".join(group)
            warnings.append(
                Text(f"Ни у одной модели нет {names}.", f"None of the models has {names}.")
            )
            continue
        wanted = TOKENIZER if "tokenizer.json" in group else set(group)
        taken = {name: path for name, path in giver.sidecars.items() if name in wanted}
        chosen.update(taken)
        names = ", ".join(sorted(taken))
        warnings.append(
            Text(f"Из «{giver.name}» взяты: {names}.", f"Taken from “{giver.name}”: {names}.")
        )
    return chosen, warnings


def _offers(model: Checkpoint, group: Sequence[str], bins: Any) -> bool:
    has = {name: path for name, path in model.sidecars.items() if name in group}
    return bool(has) and not _stale(has, bins)


def _stale(chosen: Mapping[str, Path], bins: Any) -> bool:
    """Whether the audio features have another number of mel bins than the model."""
    if "preprocessor_config.json" in chosen:
        found = read_json(chosen["preprocessor_config.json"]).get("feature_size")
    elif "processor_config.json" in chosen:
        features = read_json(chosen["processor_config.json"]).get("feature_extractor")
        found = features.get("feature_size") if isinstance(features, dict) else None
    else:
        return False
    return found is not None and bins is not None and found != bins
