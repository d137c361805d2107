"""docs/methods.md: a formula, a source and tests that exist for every method, and an example that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from merger import registry
from tests.merger import test_method_contract as contract

HERE = Path(__file__).resolve().parent
DOCUMENT = (HERE.parents[1] / "docs/methods.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return DOCUMENT.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def test_every_method_has_its_formula_its_source_and_its_tests() -> None:
    rows = {}
    for line in section("Formulas, sources and tests").splitlines():
        if line.startswith("| `"):
            method, formula, source, tests = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])
            rows[method.strip("`")] = (formula, source, tests)
    assert list(rows) == list(registry.methods())
    for method, (formula, source, tests) in rows.items():
        assert formula and source, method
        named = re.findall(r"`(\w+\.py)::(\w+)`", tests)
        assert named, method
        for file, name in named:
            assert f"\ndef {name}(" in (HERE / file).read_text(encoding="utf-8"), f"{method} names {file}::{name}"
        assert method.replace("-", "_") in tests, f"no test is named after {method}"


def test_every_method_of_the_registry_names_its_source() -> None:
    assert [spec.name for spec in registry.methods().values() if not spec.paper and not spec.guide] == []


def test_the_example_of_a_new_method_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_METHODS", registry.methods())
    program, its_test = re.findall(r"```python\n(.*?)```", section("How to add a method"), re.DOTALL)
    exec(compile(program, "contrast.py", "exec"), {"__name__": "merger.methods.contrast"})
    tests: dict[str, Any] = {"__name__": "test_contrast"}
    exec(compile(its_test, "test_contrast.py", "exec"), tests)
    tests["test_contrast"]()
    spec = registry.get_method("contrast")
    contract.test_equal_sources_are_that_model(spec)
    contract.test_endpoint_is_a_bit_for_bit(spec)
    contract.test_both_ends_of_every_range_run(spec)
    contract.test_torch_gives_the_bits_of_numpy(spec)
    contract.test_defaults_are_valid_and_described_in_both_languages(spec)
    contract.test_recipe_survives_json_and_the_command_line(spec)
    contract.test_sentence_in_both_languages(spec)
