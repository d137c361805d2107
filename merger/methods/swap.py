"""Swap: the encoder of one model and the decoder of the other — the test of who hears and who writes."""

from typing import Annotated

from merger.bilingual import Text
from merger.operators import Linear, Operator
from merger.params import Choice
from merger.registry import merge_method
from merger.views import TensorView

_MODELS = {"a": Text("модель A", "model A"), "b": Text("модель B", "model B")}
_OTHER = {"a": "b", "b": "a"}


@merge_method(
    title=Text("Кто слышит, кто пишет (swap)", "Who hears, who writes (swap)"),
    summary=Text(
        "Слух одной модели и письмо другой целиком, без смешивания: видно, откуда берётся разница.",
        "The ears of one model and the pen of the other, unmixed: shows where a difference comes from.",
    ),
    sources="two",
    paper="Whisper (encoder, decoder)",
    endpoint={"encoder_from": "a", "decoder_from": "a"},
    mirror=lambda given: {key: _OTHER[value] for key, value in given.items()},
)
def swap(
    view: TensorView,
    *,
    encoder_from: Annotated[
        str,
        Choice(
            _MODELS,
            Text("Слышит", "Hears"),
            Text("Чей кодировщик: он слушает звук.", "Whose encoder: it listens to the sound."),
        ),
    ] = "a",
    decoder_from: Annotated[
        str,
        Choice(
            _MODELS,
            Text("Пишет", "Writes"),
            Text("Чей декодер: он составляет текст.", "Whose decoder: it writes the text."),
        ),
    ] = "b",
) -> Operator:
    """Every tensor is copied from the model that its stack is taken from."""
    chosen = encoder_from if view.place.stack == "encoder" else decoder_from
    return Linear((1.0, 0.0) if chosen == "a" else (0.0, 1.0))
