"""Recipes written as YAML, apart from other recipes: most runs need no YAML reader, and it takes time to load."""

from __future__ import annotations

from typing import Any

import yaml

from merger.recipe import repeated_key, unreadable


class _Loader(yaml.SafeLoader):
    """YAML's plain values only; a key that is given twice is an error, as in JSON."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Looked at before merge keys (<<) are resolved: what they bring may be given again.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set[str]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    raise repeated_key(key.value)
                seen.add(key.value)
        return node


def parse_yaml(text: str) -> Any:
    """YAML that rejects repeated keys. Raises BadRecipe."""
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise unreadable("YAML", None if mark is None else (mark.line + 1, mark.column + 1)) from None
    # A date that does not exist; a tag that its value does not suit (!!bool x, !!int "", !!timestamp x); deep nesting.
    except (ValueError, LookupError, AttributeError, RecursionError):
        raise unreadable("YAML") from None
