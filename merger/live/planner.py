"""From a recipe to what becomes of every tensor: measuring a pair once, and planning a slider move."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

from merger.errors import Cancelled
from merger.live.flat import FlatLayout
from merger.live.measure import Measurements
from merger.live.tables import GuideTables, Table
from merger.live.write import slot_names
from merger.operators import Linear, Operator
from merger.recipe import MergeRecipe
from merger.registry import get_method
from merger.views import ModelView, TensorView

Stack = Literal["encoder", "decoder"]
Plan = Mapping[str, Operator]
Kept = tuple[Mapping[Stack, Plan], Mapping[Stack, str]]
Poll = Callable[[], bool]
STACKS: tuple[Stack, ...] = ("encoder", "decoder")
# Positions of the encoder belong to the component "embeddings", so its settings act on both stacks.
COMPONENTS_OF: dict[Stack, frozenset[str]] = {
    "encoder": frozenset({"encoder", "embeddings"}),
    "decoder": frozenset({"decoder", "cross_attention", "embeddings"}),
}
RANKED_ON_CPU = 64 << 20  # elements up to which the CPU ranks all magnitudes in advance; larger models: on demand


class Planner:
    """Plans mixtures of one pair. `order` names the tensors as an export orders them; `for_kernel` asks for tables
    wherever an operator can be told in one."""

    def __init__(self, layout: FlatLayout, measured: Measurements, order: Iterable[str], *, for_kernel: bool) -> None:
        self._layout, self.measured, self._order, self.for_kernel = layout, measured, tuple(order), for_kernel
        self._on_cpu = measured.sources[0].device.type == "cpu"
        self._names = {stack: slot_names(layout, stack) for stack in STACKS}
        self._guide: dict[Stack, GuideTables] = {}

    def prepare(self, method: str, cancelled: Poll | None) -> None:
        """Measure what the method asks of the pair. Raises Cancelled between tensors."""
        if method == "slerp":
            self.measured.measure_grams(self.measured.views(get_method(method)).values(), cancelled)
            for stack in STACKS:
                _poll(cancelled)
                self._tables(stack).prepare_arcs()
        elif method == "ties":
            self._rank(cancelled)
        else:
            for _ in self.plans(MergeRecipe.build(method), ({}, {}), cancelled):
                pass

    def plans(
        self, recipe: MergeRecipe, kept: Kept, cancelled: Poll | None
    ) -> Iterator[tuple[Stack, Plan, str]]:
        """Each stack with its plan and the name of the settings that it was made for, one after the other: so a GPU
        writes the first while the second is planned. A stack whose settings are those of `kept` keeps its plan."""
        settings = {stack: settings_name(recipe, stack) for stack in STACKS}
        changed = [stack for stack in STACKS if kept[1].get(stack) != settings[stack]]
        survey = self._survey(recipe, cancelled) if changed else None
        for stack in STACKS:
            plan = self._plan(recipe, stack, survey, cancelled) if stack in changed else kept[0][stack]
            yield stack, plan, settings[stack]

    def _survey(self, recipe: MergeRecipe, cancelled: Poll | None) -> Any:
        """Let a method that asks for it look at the whole model, its tensors in the order of an export."""
        spec = recipe.spec
        if spec.survey is None:
            return None
        views = self.measured.views(spec)

        def in_order() -> Iterator[TensorView]:
            for name in self._order:
                _poll(cancelled)
                yield views[name]

        return spec.survey(ModelView(in_order), **recipe.parameters)

    def _plan(self, recipe: MergeRecipe, stack: Stack, survey: Any, cancelled: Poll | None) -> Plan:
        _poll(cancelled)
        spec = recipe.spec
        table = None if spec.needs_base else self._tables(stack).make(recipe)
        if table is not None:
            return table
        views, common = self.measured.views(spec, survey), self.measured.equal(spec.needs_base)
        plan: dict[str, Operator] = {}
        for name in self._names[stack]:
            _poll(cancelled)
            if name in common:  # copied as it is, as a merge to disk does
                plan[name] = Linear((1.0, *(0.0,) * (len(self.measured.sources) - 1)))
            else:
                plan[name] = spec.plan(views[name], **recipe.parameters_at(views[name].place))
        # The kernel reads A and B alone.
        alone = self.for_kernel and not spec.needs_base and len(self.measured.sources) == 2
        return (Table.of(plan) if alone else None) or plan

    def _tables(self, stack: Stack) -> GuideTables:
        if stack not in self._guide:
            views, common = self.measured.views(get_method("direct")), self.measured.equal(with_base=False)
            self._guide[stack] = GuideTables([views[name] for name in self._names[stack]], common, stack)
        return self._guide[stack]

    def _rank(self, cancelled: Poll | None) -> None:
        """Measure what `ties` needs: a cut for every density of the grid."""
        if self._on_cpu and self._layout.size > RANKED_ON_CPU:
            return
        for view in self.measured.views(get_method("ties")).values():
            _poll(cancelled)
            view.rank()
        if not self._on_cpu:  # a large model: have the tables of every position of the slider at hand
            for step in range(21):
                recipe = MergeRecipe.build("ties", {"ties_density": step / 20})
                for stack in STACKS:
                    self._plan(recipe, stack, None, cancelled)


def _poll(cancelled: Poll | None) -> None:
    if cancelled is not None and cancelled():
        raise Cancelled


def settings_name(recipe: MergeRecipe, stack: Stack) -> str:
    """SHA-256 (hex) of the settings that act on one stack; all others leave its weights as they are."""
    components = COMPONENTS_OF[stack]

    def acts(key: str) -> bool:
        declared = recipe.spec.parameter(key)
        return declared is None or not declared.control.components or bool(components & {*declared.control.components})

    told = recipe.to_json()
    settings = {
        "method": recipe.method,
        "parameters": {key: value for key, value in told["parameters"].items() if acts(key)},
        "parts": {name: part for name, part in told.get("parts", {}).items() if name in components},
    }
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
