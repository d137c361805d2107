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
_LICENCE = re.compile(r"^license:\s*[\"']?([\w.+-]+)", re.MULTILINE)


def licence_of(checkpoint: Checkpoint) -> str | None:
    """The licence that a model's own card names."""
    card = checkpoint.folder / "README.md"
    if not card.is_file():
        return None
    front = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace")[:65536])
    found = _LICENCE.search(front.group(1)) if front else None
    return found.group(1) if found else None


def licence_warning(sources: Mapping[str, Checkpoint]) -> Text | None:
    """A warning if the parents name different licences."""
    licences = {model.name: licence_of(model) for key, model in sources.items() if key != BASE}
    known = {licence for licence in licences.values() if licence}
    if len(known) < 2:
        return None
    listed = ", ".join(f"{name}: {licence or '?'}" for name, licence in licences.items())
    return Text(
        f"У исходных моделей разные лицензии ({listed}): проверьте, можно ли распространять результат.",
        f"The parents have different licences ({listed}): check whether the result may be passed on.",
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
    licences = {licence for model in parents if (licence := licence_of(model))}
    if len(licences) == 1:
        lines.append(f"license: {licences.pop()}")
    return "\n".join([*lines, "tags:", "- merge", "- whisper", f"- whisper-merge-{record.recipe.method}", "---"])


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
