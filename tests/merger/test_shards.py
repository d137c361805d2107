"""Results in several weight files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from merger.arithmetic import Arithmetic
from merger.checkpoint import INDEX_FILE, open_checkpoint
from merger.commands import main
from merger.disk import merge_outputs, merge_to_folder
from merger.errors import BadParameter, CorruptFile, MissingShard
from merger.plan import MAX_SHARD_BYTES, MAX_SHARDS, parse_shard_size, plan_output
from merger.recipe import MergeRecipe
from merger.verify import verify_folder
from tests.conftest import TinyPair
from tests.merger.merging import HALF, opened, tree

LIMIT = 40_000


def test_shards_hold_what_the_single_file_holds_and_transformers_reads_them(
    tiny_pair: TinyPair, tmp_path: Path
) -> None:
    from transformers import WhisperForConditionalGeneration

    recipe = MergeRecipe.build("slerp")
    merge_to_folder(recipe, opened(tiny_pair), tmp_path / "single")
    merge_to_folder(recipe, opened(tiny_pair), tmp_path / "shards", max_shard_bytes=LIMIT)
    whole = load_file(tmp_path / "single/model.safetensors")
    index = json.loads((tmp_path / "shards" / INDEX_FILE).read_text())
    files = sorted(path.name for path in (tmp_path / "shards").glob("*.safetensors"))
    assert files == [f"model-{number:05}-of-{len(files):05}.safetensors" for number in range(1, len(files) + 1)]
    assert len(files) > 2 and not (tmp_path / "shards/model.safetensors").exists()
    found = {}
    for name in files:
        shard = load_file(tmp_path / "shards" / name)
        assert sum(tensor.nbytes for tensor in shard.values()) <= LIMIT or len(shard) == 1
        assert all(index["weight_map"][tensor] == name for tensor in shard)
        found |= shard
    assert {name: tensor.tobytes() for name, tensor in found.items()} == {
        name: tensor.tobytes() for name, tensor in whole.items()
    }
    assert index["metadata"] == {
        "total_size": sum(tensor.nbytes for tensor in whole.values()),
        "total_parameters": sum(tensor.size for tensor in whole.values()),
    }
    one, other = (WhisperForConditionalGeneration.from_pretrained(tmp_path / each) for each in ("single", "shards"))
    assert all(bool((a == b).all()) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def test_each_shard_carries_the_recipe_and_verify_looks_into_all(tiny_pair: TinyPair, tmp_path: Path) -> None:
    out = tmp_path / "out"
    merge_to_folder(HALF, opened(tiny_pair), out, max_shard_bytes=LIMIT, verify="full")
    record = json.loads((out / "recipe.json").read_text())
    assert record["max_shard_bytes"] == LIMIT
    assert verify_folder(out).tensors == len(open_checkpoint(out).tensors)
    last = sorted(out.glob("*.safetensors"))[-1]
    raw = last.read_bytes()
    last.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(CorruptFile) as caught:
        verify_folder(out)
    assert caught.value.facts["file"] == last.name
    last.unlink()
    with pytest.raises(MissingShard):
        open_checkpoint(out)
    last.write_bytes(raw)
    verify_folder(out)
    merge_to_folder(HALF, opened(tiny_pair), out)  # a single file takes the place of the shards
    assert sorted(path.name for path in out.glob("model*")) == ["model.safetensors"]


def test_same_shards_whatever_the_number_of_workers(
    tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes = {name: MergeRecipe.build(name) for name in ("direct", "slerp", "ties")}
    found = []
    for threads in (1, 4):
        monkeypatch.setattr(Arithmetic, "threads", threads)
        outputs = {tmp_path / "out" / name: recipe for name, recipe in recipes.items()}
        merge_outputs(outputs, opened(tiny_pair), max_shard_bytes=LIMIT)
        found.append(tree(tmp_path / "out"))
    assert found[0] == found[1] and len(found[0]) > 30


def test_a_shard_ends_where_the_next_tensor_would_not_fit(tiny_pair: TinyPair) -> None:
    model = open_checkpoint(tiny_pair.a)
    sizes = {tensor.name: tensor.nbytes for tensor in plan_output(model).tensors}
    largest = max(sizes.values())
    plan = plan_output(model, None, largest)
    shards = [sum(tensor.nbytes for tensor in tensors) for tensors in plan.files.values()]
    assert max(shards) == largest and sum(shards) == sum(sizes.values())
    for (_, tensors), (_, following) in zip(
        list(plan.files.items())[:-1], list(plan.files.items())[1:], strict=True
    ):
        assert sum(tensor.nbytes for tensor in tensors) + following[0].nbytes > largest
    tiny = plan_output(model, None, largest - 1)
    assert len(next(tensors for tensors in tiny.files.values() if tensors[0].nbytes == largest)) == 1


@pytest.mark.parametrize(
    ("text", "size"),
    [("5GB", 5 * 10**9), ("500mb", 500 * 10**6), ("2GiB", 2 << 30), ("1.5 KB", 1500), ("4096", 4096), ("7B", 7)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_shard_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "0", "0.0001KB", "5TB", "5 GB!", "IB", "1IB", "1e9", "٣GB", "9" * 40]
)
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(BadParameter) as caught:
        parse_shard_size(text)
    assert "--max-shard-size" in caught.value.sentence("ru") and "5GB" in caught.value.remedy("en")


def test_the_flag_and_its_limits(tiny_pair: TinyPair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b), "--output-dir", str(tmp_path / "out")]
    assert main([*words, "--method", "direct", "--max-shard-size", "40KB"]) == 0
    assert len(list((tmp_path / "out").glob("model-*.safetensors"))) > 2
    assert main([*words, "--method", "direct", "--max-shard-size", "large"]) == 2
    monkeypatch.setattr("merger.plan.MAX_SHARDS", 5)
    with pytest.raises(BadParameter, match="5 at most"):
        plan_output(open_checkpoint(tiny_pair.a), None, 1000)
    assert MAX_SHARDS < 250 and MAX_SHARD_BYTES == 50_000_000_000


def test_an_export_in_shards_of_another_precision_is_made_again_byte_for_byte(
    tiny_pair: TinyPair, tmp_path: Path
) -> None:
    words = ["--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b)]
    more = ["--method", "ties", "--max-shard-size", "30KB", "--dtype", "BF16", "--donor", "b"]
    assert main([*words, *more, "--output-dir", str(tmp_path / "one")]) == 0
    stored = str(tmp_path / "one/recipe.json")
    assert main([*words, "--recipe", stored, "--output-dir", str(tmp_path / "two")]) == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert open_checkpoint(tmp_path / "two").dtype == "BF16"
    flags = ["--dtype", "F16", "--max-shard-size", "1GB"]
    assert main([*words, "--recipe", stored, *flags, "--output-dir", str(tmp_path / "three")]) == 0
    assert open_checkpoint(tmp_path / "three").dtype == "F16" and (tmp_path / "three/model.safetensors").exists()


@pytest.mark.parametrize("change", [{"donor": 3}, {"dtype": "F8"}, {"max_shard_bytes": "5GB"}, {"max_shard_bytes": 0}])
def test_a_record_of_another_kind_is_refused(change: dict[str, object], tiny_pair: TinyPair, tmp_path: Path) -> None:
    merge_to_folder(HALF, opened(tiny_pair), tmp_path / "out")
    record = json.loads((tmp_path / "out/recipe.json").read_text())
    stored = tmp_path / "stored.json"
    stored.write_text(json.dumps({**record, **change}))
    words = ["--model-a", str(tiny_pair.a), "--model-b", str(tiny_pair.b), "--output-dir", str(tmp_path / "again")]
    assert main([*words, "--recipe", str(stored)]) == 2
    assert not (tmp_path / "again").exists()
