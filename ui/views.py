"""Names of the actions that a page may ask for; every view adds its own with `@action`."""

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ui.sessions import Session
    from ui.workshop import Workshop

MODULES = ("mixer", "listen", "export", "hub", "history", "sweep", "evaluation", "blind", "model_map", "help")

Action = Callable[["Workshop", "Session", dict[str, Any]], Any]
ACTIONS: dict[str, Action] = {}


def action(name: str) -> Callable[[Action], Action]:
    """Registers `function(workshop, session, payload) -> JSON` under a name that pages call."""

    def register(function: Action) -> Action:
        if name in ACTIONS:
            raise ValueError(f"two actions are called {name}")
        ACTIONS[name] = function
        return function

    return register


def load() -> None:
    """Imports every view, which registers its actions."""
    for module in MODULES:
        import_module(f"ui.{module}")
