"""A device that does what a recipe's number tells it to: it computes nothing, dies, hangs, or is poisoned."""

import os
import time
from pathlib import Path
from typing import Any

from merger.bilingual import Text
from merger.errors import Cancelled, OutOfMemory
from merger.recipe import MergeRecipe
from ui.executor import Applied, DeviceLost, Health, Pair, Poll

FINE, DIES, HANGS, WAITS, POISONS, FAILS, STARVES = 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6


def recipe(order: float) -> MergeRecipe:
    return MergeRecipe.build("direct", {"direct_alpha": order})


class Device:
    """Stands for a GPU."""

    whole = False

    def __init__(self, device: str, kept: int) -> None:
        self.device = device
        self._poisoned = False
        self._loaded: set[Any] = set()

    def held(self) -> frozenset[Any]:
        return frozenset(self._loaded)

    def load(self, pair: Pair, cancelled: Poll) -> None:
        self._loaded = {pair.key}

    def apply(self, pair: Pair, recipe: MergeRecipe, cancelled: Poll) -> Applied:
        order = recipe.parameters["direct_alpha"]
        if order == DIES:
            os.abort()
        if order == HANGS:
            time.sleep(600)
        while order == WAITS:
            if cancelled():
                raise Cancelled
            time.sleep(0.01)
        if order == POISONS:
            self._poisoned = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if order == FAILS:
            raise ZeroDivisionError("of this request alone")
        if order == STARVES:
            raise OutOfMemory(device=self.device)
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
        return Applied(f"{os.getpid()} {self.device} {visible}", "direct", 0.0)

    def check(self) -> Health:
        if self._poisoned:
            raise DeviceLost(device=self.device, reason=Text("ядро не выполнилось", "a kernel failed"))
        return Health(self.device, 0.001, 1)

    def close(self) -> None:
        self._loaded = set()


class Stillborn:
    """A device that cannot be opened."""

    def __init__(self, device: str, kept: int) -> None:
        raise RuntimeError("no such device")


class Late(Device):
    """A device that is opened as soon as a file named like it, in the folder STAND_IN, is there."""

    def __init__(self, device: str, kept: int) -> None:
        super().__init__(device, kept)
        while not (Path(os.environ["STAND_IN"]) / device).exists():
            time.sleep(0.01)
