"""The README.md of a result: what it is, for people and for the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence

from merger.bilingual import Text
from merger.checkpoint import Checkpoint
from merger.engine import BASE
from merger.provenance import Record

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_LICENCE = re.compile(r"^license:[ \t]*[\"']?([\w.+-]+)", re.MULTILINE)
_UNNAMED = frozenset({"other", "unknown"})  # what a card says of a licence without naming it


def licence_of(checkpoint: Checkpoint) -> str | None:
    """The licence that a model's own card names."""
    card = checkpoint.folder / "README.md"
    if not card.is_file():
        return None
    front = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace")[:65536])
    found = _LICENCE.search(front.group(1)) if front else None
    return found.group(1) if found else None


def common_licence(sources: Iterable[Checkpoint]) -> str | None:
    """The licence that every source names, the base too; None if one names none or another."""
    licences = {licence_of(model) for model in sources}
    return licences.pop() if len(licences) == 1 and not licences & _UNNAMED else None


def licence_warning(sources: Mapping[str, Checkpoint]) -> Text | None:
    """A warning if a source names a licence and the result cannot bear it, because another names none or another."""
    licences = [(model.name, licence_of(model)) for model in sources.values()]
    if not any(licence for _, licence in licences) or common_licence(sources.values()):
        return None
    listed = ", ".join(f"{name}: {licence or '?'}" for name, licence in licences)
    return Text(
        f"Лицензии исходных моделей различаются или не указаны ({listed}): в карточке результата лицензии нет,"
        " проверьте, можно ли его распространять.",
        f"The licences of the source models differ or are not named ({listed}): the card of the result names none;"
        " check whether it may be passed on.",
    )


def model_card(record: Record, warnings: Sequence[Text]) -> str:
    """Markdown with the Hub's metadata; no dates and no paths, so it is the same for the same merge."""
    parents = [model for key, model in record.sources.items() if key != BASE]
    names = [model.name for model in parents]
    base = record.sources.get(BASE)
    base_name = base.name if base is not None else None
    name_a, name_b = names[0], names[1] if len(names) > 1 else names[0]
    recipe = json.dumps(
        {key: value for key, value in record.recipe.to_json().items() if key != "sources"}, indent=2, ensure_ascii=False
    )
    sections = [
        _front_matter(record, parents, base),
        f"# {' + '.join(names)}",
        record.recipe.sentence("ru", name_a, name_b, base_name, names[2:]) + ".",
        record.recipe.sentence("en", name_a, name_b, base_name, names[2:]) + ".",
    ]
    if record.reason is not None:
        sections.append(f"> **Внимание.** {record.reason.ru}\n>\n> **Note.** {record.reason.en}")
    sections += [f"> {warning.ru}\n>\n> {warning.en}" for warning in warnings]
    sections += [
        f"## Рецепт / Recipe\n\n```json\n{recipe}\n```",
        "## Как использовать / Usage\n\n```python\nfrom transformers import pipeline\n\n"
        'recognise = pipeline("automatic-speech-recognition", model="PATH_OR_HUB_ID")\n'
        'print(recognise("audio.wav", generate_kwargs={"language": "russian", "task": "transcribe"})["text"])\n```',
        "Происхождение весов с контрольными суммами — в `recipe.json` и `checksums.json`. / "
        "`recipe.json` and `checksums.json` hold the provenance of the weights with checksums.",
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(record: Record, parents: Sequence[Checkpoint], base: Checkpoint | None) -> str:
    lines = ["---", "library_name: transformers", "pipeline_tag: automatic-speech-recognition", "language:", "- ru"]
    hub_ids = [model.hub_id for model in [*parents, *([base] if base else [])] if model.hub_id]
    if hub_ids:
        lines += ["base_model:", *(f"- {hub_id}" for hub_id in _unique(hub_ids)), "base_model_relation: merge"]
    licence = common_licence(record.sources.values())
    if licence is not None:
        lines.append(f"license: {licence}")
    return "\n".join([*lines, "tags:", "- merge", "- whisper", f"- whisper-merge-{record.recipe.method}", "---"])


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
