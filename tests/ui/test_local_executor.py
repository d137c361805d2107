"""The device in this process: pairs that stay, pairs that are turned round, memory that runs out."""

from pathlib import Path
from typing import Any

import pytest

from evaluation.audio import AudioLimits, load_clip
from merger.checkpoint import open_checkpoint
from merger.errors import OutOfMemory
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from tests.ui.conftest import write_tone
from ui import local_executor
from ui.executor import Pair, here
from ui.local_executor import LocalExecutor

SIDES = ("a", "merged", "b")
RECIPE = MergeRecipe.build("direct", {"direct_alpha": 0.3})


def never() -> bool:
    return False


@pytest.fixture
def pair(tiny_pair: TinyPair) -> Pair:
    return Pair({role: open_checkpoint(getattr(tiny_pair, role)) for role in ("a", "b", "base")})


@pytest.fixture
def clip(tmp_path: Path) -> Any:
    return load_clip(write_tone(tmp_path / "clip.wav"), AudioLimits())


def test_a_swap_reads_no_model_again_and_hears_the_same(
    pair: Pair, clip: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    turned = Pair({"a": pair.checkpoints["b"], "b": pair.checkpoints["a"], "base": pair.checkpoints["base"]})
    fresh = LocalExecutor("cpu")
    right = fresh.hear(turned, RECIPE, SIDES, clip, never)
    device, loads = LocalExecutor("cpu"), []
    made = local_executor.LoadedPair

    def counted(*arguments: Any) -> Any:
        loads.append(arguments)
        return made(*arguments)

    monkeypatch.setattr(local_executor, "LoadedPair", counted)
    first = device.hear(pair, RECIPE, SIDES, clip, never)
    heard = device.hear(turned, RECIPE, SIDES, clip, never)
    assert len(loads) == 1 and device.holds(turned) and not device.holds(pair)
    for side in SIDES:
        assert heard[side].transcript.tokens == right[side].transcript.tokens
    assert heard["a"].transcript.tokens == first["b"].transcript.tokens
    back = device.hear(pair, RECIPE, SIDES, clip, never)
    assert len(loads) == 1
    assert [back[side].transcript.tokens for side in SIDES] == [first[side].transcript.tokens for side in SIDES]


def test_memory_that_runs_out_is_tried_once_more_with_everything_dropped(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, fails = LocalExecutor("cpu"), 1
    device.load(pair, never)
    apply = local_executor._applied

    def starving(*arguments: Any) -> Any:
        nonlocal fails
        if fails:
            fails -= 1
            raise MemoryError
        return apply(*arguments)

    monkeypatch.setattr(local_executor, "_applied", starving)
    assert device.apply(pair, RECIPE, never).performed == "direct"
    fails = 2
    with pytest.raises(OutOfMemory):
        device.apply(pair, RECIPE, never)
    assert device.apply(pair, RECIPE, never).performed == "direct"


def test_only_a_devices_own_thread_may_use_it() -> None:
    with pytest.raises(RuntimeError, match="device"):
        here()


def test_the_check_runs_a_kernel(pair: Pair) -> None:
    health = LocalExecutor("cpu").check()
    assert (health.device, health.device_bytes) == ("cpu", 0) and health.ram_bytes > 10_000_000


def test_all_sides_asked_together_are_those_asked_one_by_one(pair: Pair, clip: Any) -> None:
    device = LocalExecutor("cpu")
    other = MergeRecipe.build("direct", {"direct_alpha": 0.9})
    device.apply(pair, other, never)
    together = device.hear(pair, RECIPE, ("a", "b", "merged"), clip, never)
    assert [side for side, what in together.items() if what.applied is not None] == ["merged"]
    single = LocalExecutor("cpu")
    for side in SIDES:
        alone = single.hear(pair, RECIPE, (side,), clip, never)[side]
        assert alone.transcript.tokens == together[side].transcript.tokens
