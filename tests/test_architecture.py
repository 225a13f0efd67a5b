"""The folder listing shows the architecture, and imports run only downwards in it."""

import ast
from pathlib import Path

import pytest

import temporal_state

ROOT = Path(temporal_state.__file__).parent

# Each may import those to its left.
LAYERS = [
    *("_lazy", "errors", "storage", "documents", "runs", "backend", "_default"),
    *("temporal", "state"),
]
TOP = ["testing", "cli"]
WITHOUT_TEMPORAL = {"_lazy", "errors", "storage", "documents", "runs", "backend", "_default"}


def layer_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.fixture(scope="module")
def modules() -> dict[str, ast.Module]:
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in ROOT.rglob("*.py")}


def imports_of(path: str, tree: ast.Module) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            if node.module == "temporal_state":
                found |= {f"temporal_state.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("layer", [*LAYERS, *TOP])
def test_imports_run_only_downwards(modules, layer):
    allowed = set(LAYERS) if layer in TOP else set(LAYERS[: LAYERS.index(layer) + 1])
    allowed.add(layer)
    imports = [
        (path, name)
        for path, tree in modules.items()
        if path.split("/")[0].removesuffix(".py") == layer
        for name in imports_of(path, tree)
    ]
    assert imports
    for path, name in imports:
        if name.startswith("temporal_state."):
            assert layer_of(name) in allowed, f"{path} imports {name}"
        if name.split(".")[0] == "temporalio":
            assert layer not in WITHOUT_TEMPORAL, f"{path} imports {name}"


def test_every_folder_is_a_layer():
    found = {p.name.removesuffix(".py") for p in ROOT.iterdir() if not p.name.startswith("__")}
    assert found - {"py.typed"} <= {*LAYERS, *TOP}


def test_every_module_opens_with_its_decision(modules):
    assert [path for path, tree in modules.items() if not ast.get_docstring(tree)] == []


def exports_of(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return ast.literal_eval(node.value)
    return None


def test_everything_exported_is_listed_once_and_in_order(modules):
    exports = {path: exports_of(tree) for path, tree in modules.items()}
    assert [path for path in exports if "__init__" in path and exports[path] is None] == []
    for path, names in exports.items():
        if names is None:
            continue
        assert len(names) == len(set(names))
        assert sorted(names, key=lambda n: (not n.isupper(), n[0].islower(), n)) == names, path


def test_every_error_is_drawn_in_the_tree():
    text = (ROOT / "errors.py").read_text()
    drawing = ast.get_docstring(ast.parse(text))
    for name in temporal_state.errors.__all__:
        assert name in drawing
        error = getattr(temporal_state.errors, name)
        assert issubclass(error, temporal_state.StateError)
        assert str(error("what, why, remedy")) == "what, why, remedy"
        assert getattr(temporal_state, name) is error
