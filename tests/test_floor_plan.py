"""Keeps the floor plan of docs/architecture.md: imports go down only, each library stays on its floor."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {"merger": 0, "evaluation": 1, "ui": 2}
# Which library may be imported where (paths relative to the root, a folder ends with "/").
ONLY_IN = {
    "gradio": ("ui/", "app.py"),
    "sqlite3": ("evaluation/store.py", "evaluation/store/"),
}
FILES = sorted(
    path for floor in FLOORS for path in (ROOT / floor).rglob("*.py")
)  # demo/, benchmarks/ and tests/ stand outside the house and may call any floor
COMPONENTS = ROOT / "ui" / "components"


def imported_modules(path: Path) -> Iterator[str]:
    """Every absolute module name that a file imports, at any depth of nesting; relative imports are resolved."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                prefix = package[: len(package) - node.level + 1]
                yield ".".join((*prefix, node.module or ""))
            else:
                yield node.module or ""


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    own = FLOORS[path.relative_to(ROOT).parts[0]]
    for module in imported_modules(path):
        top = module.split(".")[0]
        assert FLOORS.get(top, 0) <= own, f"{path.relative_to(ROOT)} imports {module}, which lies above it"
        assert top not in {"app", "demo", "benchmarks", "tests"}, f"{path.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_library_stays_on_its_floor(library: str) -> None:
    for path in [*FILES, ROOT / "app.py"]:
        name = str(path.relative_to(ROOT))
        if path.exists() and not name.startswith(ONLY_IN[library]):
            assert library not in {module.split(".")[0] for module in imported_modules(path)}, name


def test_there_are_files_to_check() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", sorted(COMPONENTS.glob("*.*s")), ids=lambda path: path.name)
def test_scripts_and_sheets_fit_the_screen(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [number for number, line in enumerate(lines, 1) if len(line) > 120] == []
    if path.suffix == ".js":
        assert len(lines) <= 300, "a script of more than one subject: parts of an island are explained in bus.js"


def test_a_script_is_an_island_or_a_part_of_one_that_something_calls() -> None:
    scripts = {path.stem: path.read_text(encoding="utf-8") for path in COMPONENTS.glob("*.js")}
    assert {"bus", "mixer", "evaluation", "grid"} <= set(scripts)
    for name, code in scripts.items():
        if f'WM.island("{name}", ' in code or name.startswith("bus"):
            continue
        owner = name.split("_")[0]
        assert f"WM.parts.{name} = (" in code, name
        assert f"parts.{name}(" in scripts[owner], f"{owner}.js makes no use of {name}.js"
