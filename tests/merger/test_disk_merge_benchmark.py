"""The benchmark of merges to disk: a command line for every method of the registry."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.disk_merge import PEER_OF, TIES_DENSITY, Bench
from merger.arguments import read_request
from merger.flags import parse_arguments
from merger.registry import MethodSpec, methods


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Of models that are not there: only command lines are asked for."""
    monkeypatch.setattr("benchmarks.disk_merge.subprocess.run", lambda *_, **__: None)
    return Bench("nano", tmp_path)


@pytest.mark.parametrize("spec", methods().values(), ids=lambda spec: spec.name)
def test_every_method_can_be_measured(spec: MethodSpec, bench: Bench) -> None:
    command = bench.merge_command(spec.name)
    given, faults = parse_arguments(command[command.index("merger") + 1 :])
    recipe = read_request(given, faults).recipes[""]
    assert recipe.method == spec.name
    assert ("--base" in command) == spec.needs_base
    if PEER_OF.get(spec.name) == "ties":
        assert recipe.parameters["density"] == TIES_DENSITY
