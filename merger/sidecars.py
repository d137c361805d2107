"""The files beside the weights: taken from a donor, completed from the other sources where it lacks one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.checkpoint import SIDECARS, Checkpoint, read_json
from merger.dtypes import TORCH_NAMES
from merger.errors import ModelFileError, UnreadableFile


@dataclass(frozen=True)
class Need:
    """Something that transformers needs: the ways to have it (files each), all files that belong to it, and the loss.

    They come from one model, since files of two need not fit together.
    """

    ways: tuple[tuple[str, ...], ...]
    files: frozenset[str]
    loss: Text

    @property
    def name(self) -> str:
        """The files that are enough: `tokenizer.json / vocab.json + merges.txt`."""
        return " / ".join(" + ".join(way) for way in self.ways)

    def met_by(self, files: Mapping[str, Path]) -> bool:
        """Whether usable files hold one of the ways; a processor's config need not hold the audio features."""
        held = {name for name in files if name != PROCESSOR or "feature_extractor" in read_json(files[name])}
        return any(held.issuperset(way) for way in self.ways)


GENERATION, PREPROCESSOR, PROCESSOR = "generation_config.json", "preprocessor_config.json", "processor_config.json"
FEATURES = frozenset({PREPROCESSOR, PROCESSOR})
_NO_PROCESSOR = Text(
    "результат нельзя будет открыть как WhisperProcessor", "WhisperProcessor will not open the result"
)
NEEDS = (
    Need(
        ((GENERATION,),),
        frozenset({GENERATION}),
        Text("результат не будет знать языков и задач", "the result will not know languages and tasks"),
    ),
    Need(((PREPROCESSOR,), (PROCESSOR,)), FEATURES, _NO_PROCESSOR),
    Need(
        (("tokenizer.json",), ("vocab.json", "merges.txt")),
        frozenset(SIDECARS) - {"config.json", GENERATION} - FEATURES,
        _NO_PROCESSOR,
    ),
)
# Says where the donor came from, which is not where the result came from.
DROPPED = ("_name_or_path", "transformers_version")


def write_sidecars(
    folder: Path, sources: Sequence[Checkpoint], donor: Checkpoint, dtype: str, own_head: bool
) -> None:
    """Write every sidecar into `folder`, as `choose_sidecars` chooses them, and the config."""
    chosen, _ = choose_sidecars(sources, donor)
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


def choose_sidecars(sources: Sequence[Checkpoint], donor: Checkpoint) -> tuple[dict[str, Path], list[Text]]:
    """The files that go beside the weights, config.json apart, by name; the donor's, completed from the other sources.

    With warnings that name what of the donor's is damaged or stale, what came from elsewhere and what is missing.
    """
    bins = donor.config.get("num_mel_bins")
    chosen, warnings = _usable(donor, bins)
    for need in NEEDS:
        if need.met_by(chosen):
            continue
        offers = ((model, _usable(model, bins)[0]) for model in sources)
        giver, offered = next(((model, files) for model, files in offers if need.met_by(files)), (None, chosen))
        if giver is None:
            warnings.append(
                Text(
                    f"Ни у одной модели нет годного {need.name}: {need.loss.ru}.",
                    f"None of the models has a usable {need.name}: {need.loss.en}.",
                )
            )
            continue
        taken = {name: path for name, path in offered.items() if name in need.files}
        chosen = {name: path for name, path in chosen.items() if name not in need.files} | taken
        names = ", ".join(sorted(taken))
        warnings.append(
            Text(
                f"У «{donor.name}» нет годного {need.name}. Из «{giver.name}» взяты: {names}.",
                f"“{donor.name}” has no usable {need.name}. Taken from “{giver.name}”: {names}.",
            )
        )
    return chosen, warnings


def _usable(model: Checkpoint, bins: Any) -> tuple[dict[str, Path], list[Text]]:
    """The sidecars of a model that serve a result with `bins` mel bins, and warnings that name the others."""
    files: dict[str, Path] = {}
    warnings: list[Text] = []
    for name, path in model.sidecars.items():
        if name == "config.json":
            continue
        if not os.access(path, os.R_OK):  # it may be whole: a result without it would be a lesser one for no reason
            raise UnreadableFile(file=name, detail=SIDECARS[name])
        fault = _fault(path, bins) if path.suffix == ".json" else None
        if fault is None:
            files[name] = path
        else:
            warnings.append(
                Text(
                    f"{name} у «{model.name}» {fault.ru} и не взят.",
                    f"The {name} of “{model.name}” {fault.en} and is left out.",
                )
            )
    return files, warnings


def _fault(path: Path, bins: Any) -> Text | None:
    """Why a JSON sidecar cannot be taken: it is damaged, or its audio features have other mel bins than the model."""
    try:
        content = read_json(path)
    except UnreadableFile:
        raise
    except ModelFileError as error:
        detail: Text = error.facts["detail"]
        return Text(f"повреждён ({detail.ru})", f"is damaged ({detail.en})")
    features = content.get("feature_extractor") if path.name == PROCESSOR else content
    found = features.get("feature_size") if path.name in FEATURES and isinstance(features, dict) else None
    if found is None or bins is None or found == bins:
        return None
    return Text(
        f"от другой версии Whisper ({found} полос вместо {bins})",
        f"belongs to another Whisper ({found} bins instead of {bins})",
    )
