"""The state of rows, to be compared."""

from __future__ import annotations

import torch

from evaluation.engine.device_loop import FLAGS, NUMBERS, Rows


def fields(rows: Rows) -> dict[str, torch.Tensor]:
    return {name: getattr(rows, name) for name in (*NUMBERS, "out", *FLAGS)}


def copy_of(rows: Rows) -> Rows:
    twin = Rows(rows.batch, rows.positions, rows.token.device)
    for name, value in fields(rows).items():
        getattr(twin, name).copy_(value)
    return twin
