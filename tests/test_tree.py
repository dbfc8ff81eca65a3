"""The package as a reader meets it: short modules, tests where they are looked for, names that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "mlx_prune"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 340  # lines; one that grows beyond it has two subjects
# Folders of tests that are no room's: what lies at the top, what breaks everything, and what the others use.
OTHER_TESTS = {"ground", "adversity", "notebooks", "support"}


def dotted(module: Path) -> str:
    parts = module.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def names_in(module: Path) -> set[str]:
    """What a module defines, and "Class.member" of its classes."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return defined(tree.body) | {f"{node.name}.{name}" for node in classes for name in defined(node.body)}


def defined(body: list[ast.stmt]) -> set[str]:
    found: set[str] = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {
                name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)
            }
    return found


INIT = (PACKAGE / "__init__.py").read_text(encoding="utf-8")
# The public names are imported on first use.
PUBLIC = set(re.findall(r'^    "(\w+)": "mlx_prune', INIT, re.MULTILINE))
KNOWN = {dotted(module): names_in(module) for module in MODULES}


def exists(name: str) -> bool:
    """Whether a dotted name is a module, or is defined in one."""
    if name in KNOWN:
        return True
    parts = name.split(".")
    places = ((".".join(parts[:cut]), ".".join(parts[cut:])) for cut in range(1, len(parts)))
    public = len(parts) == 2 and parts[1] in PUBLIC
    return public or any(rest in KNOWN.get(place, ()) for place, rest in places)


def test_no_module_is_long() -> None:
    lengths = {dotted(module): len(module.read_text(encoding="utf-8").splitlines()) for module in MODULES}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_tests_lie_in_the_rooms_that_they_are_of() -> None:
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir()}
    folders = {path.name for path in (REPOSITORY / "tests").iterdir() if list(path.glob("*.py"))}
    assert folders - OTHER_TESTS <= rooms


def test_the_page_of_the_rooms_is_short_and_names_every_room_and_files_that_exist() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert len(page.splitlines()) <= 80
    picture = page.split("```")[1]
    assert not [
        path.name
        for path in PACKAGE.iterdir()
        if (path / "__init__.py").exists() and path.name not in picture
    ]
    named = re.findall(r"`(?:mlx_prune/)?((?:\w+/)*\w+\.py)", page)
    files = {module.relative_to(PACKAGE).as_posix() for module in MODULES}
    assert len(named) > 30
    assert not [name for name in named if not any(f"/{file}".endswith(f"/{name}") for file in files)]


def test_names_that_docstrings_refer_to_exist() -> None:
    wrong = []
    for module in MODULES:
        text = module.read_text(encoding="utf-8")
        referred = re.findall(r":(?:func|class|mod|data|meth|attr):`~?(mlx_prune[\w.]*)`", text)
        wrong += [(dotted(module), name) for name in referred if not exists(name)]
        local = re.findall(r":(?:func|class|data):`~?([A-Za-z_]\w*)`", text)
        wrong += [(dotted(module), name) for name in local if not re.search(rf"(?<!`)\b{name}\b(?!`)", text)]
    assert not wrong
    assert not exists("mlx_prune.words.misspelled")
