"""The house: imports point down only, no two files import each other in a circle, and the lowest floors stay light."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    {"errors"},
    {"records"},
    {"maths"},
    {"data"},
    {"models"},
    {"training"},
    {"stages"},
    {"evaluate"},
    {"collect"},
    {"demo"},
    {"cli"},
    {"__init__", "__main__"},  # the roof: `import accord` and `python -m accord`
]
VERSION = "accord.__version__"  # the one name of the roof that every floor may read: nothing stands behind it
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}


def modules(root: Path = ROOT) -> dict[str, ast.Module]:
    """Dotted name -> syntax tree, for every file of the package."""
    files = sorted((root / "accord").rglob("*.py"))
    return {dotted(file.relative_to(root)): ast.parse(file.read_text(), str(file)) for file in files}


def dotted(file: Path) -> str:
    parts = file.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def executed(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below, except what stands under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            for branch in child.orelse:
                yield branch
                yield from executed(branch)
        else:
            yield child
            yield from executed(child)


def named(node: ast.AST, package: str) -> list[str]:
    """The dotted names that an import may stand for: `from a import b` is a.b if that is a file, else a."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        base = ".".join([*above, node.module] if node.module else above)
        return [f"{base}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        return [value.value for value in node.args if isinstance(value, ast.Constant) and isinstance(value.value, str)]
    return []


def imports(trees: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Dotted name of a file -> those of the package's files that it imports, anywhere in it."""
    folders = {name.rpartition(".")[0] for name in trees}
    found: dict[str, set[str]] = {}
    for name, tree in trees.items():
        package = name if name in folders else name.rpartition(".")[0]
        targets = {target for node in executed(tree) for target in named(node, package)}
        inside = {target for target in targets if target.split(".")[0] == "accord" and target != VERSION}
        found[name] = {target if target in trees else target.rpartition(".")[0] for target in inside} - {name}
    return found


def outside(tree: ast.Module) -> set[str]:
    """The top-level packages that a file imports."""
    return {target.split(".")[0] for node in executed(tree) for target in named(node, "accord")}


def upward(graph: dict[str, set[str]]) -> list[str]:
    wrong = []
    for name, targets in graph.items():
        for target in targets:
            here, there = room(name), room(target)
            if here != there and HEIGHT[there] >= HEIGHT[here]:
                wrong.append(f"{name} imports {target}")
    return sorted(wrong)


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in modules()} <= set(HEIGHT)


def test_imports_point_down_only() -> None:
    assert upward(imports(modules())) == []


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        graphlib.TopologicalSorter(imports(modules())).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_records_need_the_standard_library_only() -> None:
    trees = modules()
    assert outside(trees["accord.records"]) <= sys.stdlib_module_names | {"accord"}
    assert imports(trees)["accord.records"] == {"accord.errors"}


def test_import_accord_is_light() -> None:
    program = "import sys, accord; print(sorted({'torch', 'transformers', 'numpy', 'pydantic'} & set(sys.modules)))"
    seen = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout == "[]\n"


def test_the_labelling_site_starts_without_torch() -> None:
    program = (
        "import sys, accord.collect.web.app, accord.collect.serve, accord.collect.client, accord.collect.importing; "
        "print('torch' in sys.modules)"
    )
    seen = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout == "False\n"


@pytest.fixture
def crooked(tmp_path: Path) -> dict[str, set[str]]:
    """A house with each fault that the tests above look for."""
    files = {
        "__init__.py": "",
        "errors.py": "def late():\n    from accord import records\n",
        "records.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from accord.cli import main\n",
        "data/__init__.py": "from .read import rows\n",
        "data/read.py": "from . import order\nimport accord.records\n",
        "data/order.py": "import importlib\nread = importlib.import_module('accord.data.read')\n",
        "cli.py": "from accord.data.read import rows\n",
    }
    for name, text in files.items():
        path = tmp_path / "accord" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(text)
    return imports(modules(tmp_path))


def test_the_rules_see_what_they_forbid(crooked: dict[str, set[str]]) -> None:
    assert crooked["accord.records"] == set()  # under TYPE_CHECKING nothing is executed
    assert crooked["accord.data"] == {"accord.data.read"}
    assert crooked["accord.cli"] == {"accord.data.read"}
    assert upward(crooked) == ["accord.errors imports accord.records"]
    with pytest.raises(graphlib.CycleError, match="cycle"):
        graphlib.TopologicalSorter(crooked).prepare()
