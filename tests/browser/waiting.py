"""Waiting for a page that may be in the middle of anything: being replaced, redrawn, not yet told."""

from __future__ import annotations

import re
from typing import Any

FUNCTION = re.compile(r"\s*(\([^()]*\)|\w+)\s*=>")


def until(page: Any, predicate: str, arg: Any = None) -> None:
    """Waits until a JavaScript expression, or function of `arg`, is true.

    A predicate may look at a document that has no root yet, at an element that is being redrawn or at a part of the
    state that has not arrived: all of these are a TypeError of the page, and mean "not yet".
    """
    function = predicate if FUNCTION.match(predicate) else f"() => ({predicate})"
    page.wait_for_function(
        f"arg => {{ try {{ return ({function})(arg); }}"
        " catch (fault) { if (fault instanceof TypeError) return false; throw fault; } }",
        arg=arg,
    )
