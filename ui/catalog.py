"""What the page knows before anybody touches it, all derived: methods with parameters, presets, parts of a model."""

from dataclasses import dataclass
from typing import Any

from merger.bilingual import Text
from merger.layout import COMPONENTS
from merger.recipe import MergeRecipe
from merger.registry import methods
from ui.errors import bad_recipe, bilingual


def both(ru: Any, en: Any) -> Any:
    """Two renderings of one JSON value → one, in which every text that differs is `{"ru", "en"}`."""
    if isinstance(ru, dict):
        return {key: both(ru[key], en[key]) for key in ru}
    if isinstance(ru, list):
        return [both(*pair) for pair in zip(ru, en, strict=True)]
    return ru if ru == en else {"ru": ru, "en": en}


def method_catalog() -> list[dict[str, Any]]:
    """Every registered method in display order; `short` is the name on a narrow button."""
    return [
        {**both(spec.to_json("ru"), spec.to_json("en")), "short": spec.title.en.split(" (")[0]}
        for spec in methods().values()
    ]


def component_catalog() -> list[dict[str, Any]]:
    return [{"key": key, "label": bilingual(label)} for key, label in COMPONENTS.items()]


@dataclass(frozen=True)
class Preset:
    """A recipe that the guide recommends, under a name that says when to take it."""

    name: str
    title: Text
    why: Text
    method: str
    parameters: dict[str, Any]

    @property
    def recipe(self) -> MergeRecipe:
        return MergeRecipe.build(self.method, self.parameters)

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": bilingual(self.title),
            "why": bilingual(self.why),
            "recipe": self.recipe.to_json(),
        }


PRESETS = (
    Preset(
        "start",
        Text("С чего начать: TIES, почти поровну", "Where to start: TIES, almost equal"),
        Text(
            "Общее правило руководства: начинайте с TIES с близкими к равным весами.",
            "The guide's general rule: start with TIES and almost equal weights.",
        ),
        "ties",
        {},
    ),
    Preset(
        "different-data",
        Text("Модели учились на разных данных", "Models trained on different data"),
        Text(
            "Первая модель важнее для звуков, обе одинаково влияют на грамматику.",
            "The first model matters more for sounds; both shape the grammar equally.",
        ),
        "ties",
        {"ties_density": 0.85, "encoder_weights": [0.6, 0.4], "decoder_weights": [0.5, 0.5]},
    ),
    Preset(
        "formal-colloquial",
        Text("Одна — официальная речь, другая — разговорная", "One formal, the other colloquial"),
        Text(
            "Высокая плотность (0,9) сохраняет особенности обеих моделей.",
            "A high density (0.9) keeps what is special in both models.",
        ),
        "ties",
        {"ties_density": 0.9, "encoder_weights": [0.5, 0.5], "decoder_weights": [0.6, 0.4]},
    ),
    Preset(
        "base-plus-detail",
        Text("Первая хороша, вторая добавляет частности", "The first is good, the second adds details"),
        Text(
            "70 % первой модели и 30 % особенностей второй, по дуге.",
            "70% of the first model and 30% of the second, along the arc.",
        ),
        "slerp",
        {"slerp_t": 0.3},
    ),
    Preset(
        "experiment-ties",
        Text("Эксперимент 1: TIES с приоритетом первой", "Experiment 1: TIES, the first model leads"),
        Text(
            "Первый из трёх опытов, которые руководство советует сравнить.",
            "The first of three trials that the guide advises to compare.",
        ),
        "ties",
        {"ties_density": 0.85, "encoder_weights": [0.65, 0.35], "decoder_weights": [0.6, 0.4]},
    ),
    Preset(
        "experiment-slerp",
        Text("Эксперимент 2: SLERP с уклоном к первой", "Experiment 2: SLERP, leaning to the first"),
        Text("Второй из трёх опытов руководства.", "The second of the guide's three trials."),
        "slerp",
        {"slerp_t": 0.4},
    ),
    Preset(
        "experiment-direct",
        Text("Эксперимент 3: прямое смешивание", "Experiment 3: direct"),
        Text("Третий из трёх опытов руководства.", "The third of the guide's three trials."),
        "direct",
        {"direct_alpha": 0.6},
    ),
)


def preset(name: str) -> Preset:
    """The preset of this name. Raises BadRecipe: an unknown preset is never taken for another."""
    for one in PRESETS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in PRESETS)
    raise bad_recipe(
        Text(f"Нет готового рецепта «{name}».", f"There is no preset “{name}”."),
        Text(f"Есть: {known}.", f"There are: {known}."),
    )
