"""Whether models can be merged: from configs and headers alone, all mismatches at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from merger.architecture import expected_tensors
from merger.bilingual import Text
from merger.checkpoint import Checkpoint, is_hub_id, open_checkpoint, peek_config, read_json
from merger.errors import CorruptFile, Fault, IncompatibleModels, MissingFile, ModelFileError
from merger.layout import TIED_HEAD
from merger.sidecars import choose_sidecars

Mismatch = Fault

# Config fields that have to agree, and what they are called.
ARCHITECTURE = {
    "model_type": Text("вид модели", "kind of model"),
    "d_model": Text("ширина модели", "model width"),
    "encoder_layers": Text("слоёв кодировщика", "encoder layers"),
    "decoder_layers": Text("слоёв декодера", "decoder layers"),
    "encoder_attention_heads": Text("голов внимания кодировщика", "encoder attention heads"),
    "decoder_attention_heads": Text("голов внимания декодера", "decoder attention heads"),
    "encoder_ffn_dim": Text("ширина FFN кодировщика", "encoder FFN width"),
    "decoder_ffn_dim": Text("ширина FFN декодера", "decoder FFN width"),
    "num_mel_bins": Text("полос мел-спектрограммы", "mel bins"),
    "vocab_size": Text("размер словаря", "vocabulary size"),
    "max_source_positions": Text("позиций звука", "audio positions"),
    "max_target_positions": Text("позиций текста", "text positions"),
    "activation_function": Text("функция активации", "activation function"),
    "scale_embedding": Text("масштаб эмбеддингов", "embedding scale"),
}
# What transformers assumes where a config leaves the field out.
DEFAULTS = {"activation_function": "gelu", "scale_embedding": False}
MERGEABLE = frozenset({"F16", "BF16", "F32"})
SAME_VERSION = Text(
    "Возьмите модели, дообученные из одной и той же версии Whisper.",
    "Take models that were fine-tuned from one and the same version of Whisper.",
)
PREFIX = "model."
LISTED = 5
LISTED_RUNS = 50  # runs of neighbouring ids, so that one warning names the ids of all tokenizers but wholly unlike ones


@dataclass(frozen=True)
class Compatibility:
    """The verdict; `warnings` do not stand in the way of merging."""

    mismatches: list[Mismatch]
    warnings: list[Text]

    @property
    def ok(self) -> bool:
        """Whether the models can be merged."""
        return not self.mismatches

    def raise_if_incompatible(self) -> None:
        """Raises IncompatibleModels with every mismatch."""
        if self.mismatches:
            raise IncompatibleModels(mismatches=self.mismatches)


def open_all(
    paths: Mapping[str, str | os.PathLike[str]], *, allowed_roots: Sequence[str | os.PathLike[str]] | None = None
) -> dict[str, Checkpoint]:
    """Open several models: the configs of all first, so that unlike ones are refused before gigabytes are fetched.

    Raises IncompatibleModels with every mismatch of the configs, and what `open_checkpoint` raises.
    """
    if any(is_hub_id(os.fspath(path)) for path in paths.values()):
        first, *others = [peek_config(path, allowed_roots=allowed_roots) for path in paths.values()]
        mismatches = [fault for other in others for fault in _config_mismatches(first, other)]
        Compatibility(mismatches, []).raise_if_incompatible()
    return {key: _opened(os.fspath(path), allowed_roots) for key, path in paths.items()}


def _opened(path: str, allowed_roots: Sequence[str | os.PathLike[str]] | None) -> Checkpoint:
    """`open_checkpoint`, whose errors say which of several models has the file: all have files of the same names."""
    try:
        return open_checkpoint(path, allowed_roots=allowed_roots)
    except ModelFileError as error:
        file, folder = error.facts.get("file"), Path(path).parent if Path(path).is_file() else Path(path)
        if isinstance(file, str) and os.sep not in file:
            error.facts["file"] = str(folder / file)
        raise


def require_sound(model: Checkpoint) -> None:
    """Raises IncompatibleModels if a model could not even be used as it is."""
    Compatibility([*_unsupported(model), *_contradictions(model)], []).raise_if_incompatible()


def compare(
    a: Checkpoint, b: Checkpoint, *others: Checkpoint, base: Checkpoint | None = None, donor: Checkpoint | None = None
) -> Compatibility:
    """Compare all models with the first; reads configs, headers and sidecars (weights only for a stored head).

    `donor` is the model that gives config and tokenizer, the first unless given.
    """
    mismatches: list[Mismatch] = []
    warnings: list[Text] = []
    if a.config.get("model_type") != "whisper":
        kind = str(a.config.get("model_type"))
        mismatches.append(
            Fault(
                Text(f"«{a.name}» — не Whisper, а «{kind}».", f"“{a.name}” is not a Whisper but “{kind}”."),
                Text("Выберите модель Whisper.", "Choose a Whisper model."),
            )
        )
    mismatches.extend([*_unsupported(a), *_contradictions(a)])
    rest = (b, *others, *([base] if base is not None else []))
    for other in (b, *others):
        if other.folder.resolve() == a.folder.resolve() and other.files == a.files:
            warnings.append(
                Text(
                    f"«{other.name}» взята дважды: смешивать нечего.",
                    f"“{other.name}” was taken twice: there is nothing to mix.",
                )
            )
    for other in rest:
        mismatches.extend(_config_mismatches((a.name, a.config), (other.name, other.config)))
        mismatches.extend([*_unsupported(other), *_contradictions(other)])
        if not any(mismatch.parameter == "architecture" for mismatch in mismatches):
            # Different architectures differ in hundreds of tensors; the cause has been named already.
            mismatches.extend(_tensor_mismatches(a, other))
            warnings.extend(_tokenizer_warnings(a, other))
        if a.dtype != other.dtype:
            warnings.append(
                Text(
                    f"Разная точность: «{a.name}» {a.dtype}, «{other.name}» {other.dtype}; счёт идёт в F32.",
                    f"Different precision: “{a.name}” {a.dtype}, “{other.name}” {other.dtype}; computed in F32.",
                )
            )
    warnings.extend(choose_sidecars((a, *rest), donor or a)[1])
    return Compatibility(mismatches, warnings)


def _config_mismatches(a: tuple[str, Mapping[str, Any]], b: tuple[str, Mapping[str, Any]]) -> list[Mismatch]:
    found = []
    for key, label in ARCHITECTURE.items():
        ours, theirs = (config.get(key, DEFAULTS.get(key)) for _, config in (a, b))
        if ours != theirs:
            sentence = Text(
                f"{label.ru}: у «{a[0]}» {ours}, у «{b[0]}» {theirs}.",
                f"{label.en}: {ours} in “{a[0]}”, {theirs} in “{b[0]}”.",
            )
            found.append(Fault(sentence, SAME_VERSION, "architecture"))
    return found


def _unsupported(model: Checkpoint) -> list[Mismatch]:
    odd = sorted({entry.dtype for entry in model.tensors.values()} - MERGEABLE)
    if not odd:
        return []
    sentence = Text(
        f"В «{model.name}» есть веса вида {', '.join(odd)}: их нельзя смешивать.",
        f"“{model.name}” holds weights of type {', '.join(odd)}, which cannot be mixed.",
    )
    return [Fault(sentence, Text("Сохраните модель в F16, BF16 или F32.", "Save the model as F16, BF16 or F32."))]


def _contradictions(model: Checkpoint) -> list[Mismatch]:
    """Where a model's tensors are not what its own config describes: neither it nor a merge could be loaded."""
    remedy = Text("Скачайте или сохраните эту модель заново.", "Download or save this model again.")
    layers = sum(int(model.config.get(f"{stack}_layers") or 0) for stack in ("encoder", "decoder"))
    if layers > len(model.tensors):  # before so many names are made up
        sentence = Text(
            f"По config.json у «{model.name}» слоёв {layers}, а тензоров всего {len(model.tensors)}.",
            f"The config.json of “{model.name}” speaks of {layers} layers, but there are {len(model.tensors)} tensors.",
        )
        return [Fault(sentence, remedy)]
    expected = expected_tensors(model.config)
    if expected is None or model.config.get("model_type") != "whisper":
        return []
    if not any(name.startswith(PREFIX) for name in model.tensors):  # saved without the output head around it
        expected = {name.removeprefix(PREFIX): shape for name, shape in expected.items()}
    found = []
    lost = sorted(set(expected) - set(model.tensors))
    if lost:
        sentence = Text(
            f"В «{model.name}» нет тензоров, которые нужны по её config.json: {_listed(lost)}.",
            f"“{model.name}” lacks tensors that its own config.json asks for: {_listed(lost)}.",
        )
        found.append(Fault(sentence, remedy))
    odd = [name for name in sorted(set(expected) & set(model.tensors)) if model.tensors[name].shape != expected[name]]
    if odd:
        listed = _listed([f"{name} {list(model.tensors[name].shape)} / {list(expected[name])}" for name in odd])
        sentence = Text(
            f"В «{model.name}» форма тензоров не та, что нужна по её config.json: {listed}.",
            f"Tensors of “{model.name}” do not have the shape that its own config.json asks for: {listed}.",
        )
        found.append(Fault(sentence, remedy))
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown}, … ({len(names)})"


def _tensor_mismatches(a: Checkpoint, b: Checkpoint) -> list[Mismatch]:
    ours, theirs = a.weights(), b.weights()
    found = []
    for one, other, mine, its in ((a, b, ours, theirs), (b, a, theirs, ours)):
        lost = sorted(set(mine) - set(its))
        if TIED_HEAD in lost:
            lost.remove(TIED_HEAD)
            sentence = Text(
                f"У «{one.name}» отдельный выходной слой ({TIED_HEAD}), у «{other.name}» его нет.",
                f"“{one.name}” has an output head of its own ({TIED_HEAD}), “{other.name}” has none.",
            )
            remedy = Text(
                "Сохраните модель со связанными весами (tie_word_embeddings) или возьмите другую.",
                "Save the model with tied weights (tie_word_embeddings), or take another.",
            )
            found.append(Fault(sentence, remedy))
        if lost:
            sentence = Text(
                f"В «{other.name}» нет тензоров, которые есть в «{one.name}»: {_listed(lost)}.",
                f"“{other.name}” lacks tensors that “{one.name}” has: {_listed(lost)}.",
            )
            found.append(Fault(sentence, SAME_VERSION))
    shapes = sorted(name for name in set(ours) & set(theirs) if ours[name].shape != theirs[name].shape)
    if shapes:
        listed = _listed([f"{name} {list(ours[name].shape)} / {list(theirs[name].shape)}" for name in shapes])
        sentence = Text(
            f"Разная форма тензоров у «{a.name}» и «{b.name}»: {listed}.",
            f"Tensors of “{a.name}” and “{b.name}” differ in shape: {listed}.",
        )
        found.append(Fault(sentence, SAME_VERSION))
    return found


def _vocabulary(model: Checkpoint) -> dict[str, int] | None:
    """Token → id, added tokens included; None if no whole, readable tokenizer lies beside the weights."""
    try:
        if "tokenizer.json" in model.sidecars:
            parsed = read_json(model.sidecars["tokenizer.json"])
            vocabulary: Any = parsed.get("model", {}).get("vocab")
            added: Any = {token["content"]: token["id"] for token in parsed.get("added_tokens", [])}
        elif {"vocab.json", "merges.txt"} <= model.sidecars.keys():
            vocabulary = read_json(model.sidecars["vocab.json"])
            added = read_json(model.sidecars["added_tokens.json"]) if "added_tokens.json" in model.sidecars else {}
        else:
            return None
    except (CorruptFile, MissingFile, AttributeError, KeyError, TypeError):
        return None
    if not isinstance(vocabulary, dict) or not isinstance(added, dict):
        return None
    found = {**vocabulary, **added}
    return found if all(isinstance(index, int) for index in found.values()) else None


def differing_tokens(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[tuple[int, str | None, str | None]]:
    """(id, our token, their token) for every id that does not mean the same, in order of ids."""
    by_id = [{index: token for token, index in vocabulary.items()} for vocabulary in (ours, theirs)]
    ids = sorted(set(by_id[0]) | set(by_id[1]))
    pairs = ((index, by_id[0].get(index), by_id[1].get(index)) for index in ids)
    return [(index, one, other) for index, one, other in pairs if one != other]


def _tokenizer_warnings(a: Checkpoint, b: Checkpoint) -> list[Text]:
    ours, theirs = _vocabulary(a), _vocabulary(b)
    if ours is None or theirs is None:
        return []
    different = differing_tokens(ours, theirs)
    if not different:
        return []
    shown = ", ".join(
        f"{index}: {json.dumps(one, ensure_ascii=False)} / {json.dumps(other, ensure_ascii=False)}"
        for index, one, other in islice(different, LISTED)
    ) + (", …" if len(different) > LISTED else "")
    ids = _runs([index for index, _, _ in different])
    return [
        Text(
            f"Словари «{a.name}» и «{b.name}» расходятся в {len(different)} токенах: {ids} ({shown});"
            " остаётся словарь донора.",
            f"The tokenizers of “{a.name}” and “{b.name}” differ in {len(different)} ids: {ids} ({shown});"
            " the donor's is kept.",
        )
    ]


def _runs(ids: Sequence[int]) -> str:
    """Ascending ids with neighbours drawn together: `40, 50–53`; at most `LISTED_RUNS` of them."""
    runs: list[list[int]] = []
    for index in ids:
        if runs and index == runs[-1][-1] + 1:
            runs[-1][1:] = [index]
        else:
            runs.append([index])
    shown = ["–".join(map(str, run)) for run in runs[:LISTED_RUNS]]
    return ", ".join([*shown, *(["…"] if len(runs) > LISTED_RUNS else [])])
