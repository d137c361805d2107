"""Reads a Dockerfile: stages and their instructions, continuation lines joined, comments dropped."""

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Instruction:
    keyword: str
    text: str


@dataclass
class Stage:
    """One FROM … with what follows it; `name` after AS, otherwise the number."""

    base: str
    name: str
    instructions: list[Instruction] = field(default_factory=list)

    def all(self, keyword: str) -> list[str]:
        return [one.text for one in self.instructions if one.keyword == keyword]

    @property
    def environment(self) -> dict[str, str]:
        pairs = [pair for text in self.all("ENV") for pair in shlex.split(text)]
        return dict(pair.split("=", 1) for pair in pairs)

    def command(self, keyword: str) -> list[str]:
        """The last ENTRYPOINT or CMD, which are written as JSON here."""
        return [str(word) for word in json.loads(self.all(keyword)[-1])]


def read(path: Path) -> list[Stage]:
    """The stages of a Dockerfile in their order."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    stages: list[Stage] = []
    for logical in re.sub(r"\\\n", "", "\n".join(lines)).splitlines():
        keyword, _, text = logical.strip().partition(" ")
        if keyword.upper() == "FROM":
            base, *alias = re.split(r"\s+AS\s+", text.strip(), flags=re.IGNORECASE)
            stages.append(Stage(base, alias[0] if alias else str(len(stages))))
        elif keyword and stages:
            stages[-1].instructions.append(Instruction(keyword.upper(), " ".join(text.split())))
    return stages
