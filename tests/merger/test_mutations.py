"""1,000 mutations of a small model file: the right error code each time, or provably the same tensors."""

from __future__ import annotations

import json
import random
import re
import struct
from pathlib import Path
from typing import Any

import pytest

from merger.checkpoint import Checkpoint, open_checkpoint
from merger.compatibility import compare
from merger.disk import merge_to_folder
from merger.errors import WhisperMergeError
from merger.recipe import MergeRecipe
from tests.conftest import TinyPair
from tests.merger.spoiling import WEIGHTS, assembled, parts


def truncated(raw: bytes, chance: random.Random) -> bytes:
    return raw[: chance.randrange(len(raw))]


def length_flipped(raw: bytes, chance: random.Random) -> bytes:
    position = chance.randrange(8)
    return raw[:position] + bytes([raw[position] ^ (1 << chance.randrange(8))]) + raw[position + 1 :]


def header_flipped(raw: bytes, chance: random.Random) -> bytes:
    position = 8 + chance.randrange(struct.unpack("<Q", raw[:8])[0])
    return raw[:position] + bytes([raw[position] ^ (1 << chance.randrange(8))]) + raw[position + 1 :]


def offsets_changed(raw: bytes, chance: random.Random) -> bytes:
    header, data = parts(raw)
    name = chance.choice([key for key in header if key != "__metadata__"])
    offsets = header[name]["data_offsets"]
    end = chance.randrange(2)
    now = offsets[end]
    wrong = [-1, now + 2, now - 2, now // 2 + 1, len(data) + 2, 1 << 63, now + 0.5, None, True, str(now)]
    offsets[end] = chance.choice(wrong)
    return assembled(header, data)


def key_repeated(raw: bytes, chance: random.Random) -> bytes:
    header, data = parts(raw)
    name = chance.choice([key for key in header if key != "__metadata__"])
    text = json.dumps(header)
    return assembled(text[:-1] + f", {json.dumps(name)}: {json.dumps(header[name])}}}", data)


def not_a_number(raw: bytes, chance: random.Random) -> bytes:
    length = struct.unpack("<Q", raw[:8])[0]
    position = 8 + length + 2 * chance.randrange((len(raw) - 8 - length) // 2)
    return raw[:position] + struct.pack("<H", chance.choice([0x7E00, 0x7C00, 0xFC00, 0xFFFF])) + raw[position + 2 :]


MUTATIONS = {
    truncated: (250, {"INCOMPLETE_FILE"}),
    length_flipped: (64, {"INCOMPLETE_FILE", "NOT_SAFETENSORS", "CORRUPT_FILE"}),
    header_flipped: (336, {"CORRUPT_FILE", "NOT_SAFETENSORS", "INCOMPLETE_FILE", "INCOMPATIBLE_MODELS"}),
    offsets_changed: (150, {"CORRUPT_FILE", "INCOMPLETE_FILE"}),
    key_repeated: (100, {"CORRUPT_FILE"}),
    not_a_number: (100, {"NONFINITE_WEIGHTS"}),
}


def same_tensors(one: Checkpoint, other: Checkpoint, original: bytes, changed: bytes) -> bool:
    """Whether two files hold the same tensors under the same names, byte for byte."""
    return one.tensors.keys() == other.tensors.keys() and all(
        (mine.dtype, mine.shape) == (its.dtype, its.shape)
        and original[mine.offset : mine.offset + mine.nbytes] == changed[its.offset : its.offset + its.nbytes]
        for mine, its in ((one.tensors[name], other.tensors[name]) for name in one.tensors)
    )


@pytest.mark.faults
@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_mutations_of_a_file(mutate: Any, folder: Path, tiny_pair: TinyPair, tmp_path: Path) -> None:
    count, codes = MUTATIONS[mutate]
    original, chance = (folder / WEIGHTS).read_bytes(), random.Random(2026)
    whole, unharmed = open_checkpoint(tiny_pair.a), 0
    for number in range(count):
        changed = mutate(original, chance)
        if changed == original:
            continue
        (folder / WEIGHTS).write_bytes(changed)
        try:
            spoilt = open_checkpoint(folder)
            compare(whole, spoilt).raise_if_incompatible()
            if same_tensors(whole, spoilt, original, changed):
                unharmed += 1
                continue
            merge_to_folder(MergeRecipe.build("ties"), {"a": whole, "b": spoilt}, tmp_path / "out")
        except WhisperMergeError as error:
            assert error.code in codes, (number, str(error))
            assert error.sentence("ru") and error.remedy("ru") and not re.search(r"\{\w+\}", error.sentence("ru"))
        else:
            pytest.fail(f"mutation {number} was accepted")
        assert not (tmp_path / "out").exists()
    # Flips in blanks and in the metadata's words change no tensor; the other kinds always do.
    assert unharmed == 0 or mutate is header_flipped


def test_there_are_a_thousand_mutations() -> None:
    assert sum(count for count, _ in MUTATIONS.values()) == 1000
