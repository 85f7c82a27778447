"""Imports point down, method folders leave each other alone, heavy and optional packages are imported where used."""

import ast
import pathlib

import pytest

import keras_transfer

ROOT = pathlib.Path(keras_transfer.__file__).parent
# From the bottom up; a module may import from its own layer and those before it.
LAYERS = [
    ["_check", "_linalg", "_table", "_compat", "_files", "clusters", "distributing", "replicating"],
    ["network", "masking", "blocks"],
    ["heads", "saved_model", "backbones", "data", "rates", "store"],
    ["assembling", "freezing"],
    ["fitting", "summarizing", "rate_finding", "checkpointing", "running", "inspecting"],
    ["multitask"],
    ["agreeing", "keeping", "recipe", "loading", "unfinished"],
    ["alone", "evaluating", "exporting", "extracting"],
    ["reporting", "serving"],
    ["commands", "cli"],
]
LAYER = {name: depth for depth, names in enumerate(LAYERS) for name in names}
# Folders of parts that know nothing of each other. `store` reads the sets of `data`, heads carry masked losses.
APART = {"heads", "backbones", "data"}
OPTIONAL = {
    "pandas",
    "PIL",
    "sklearn",
    "matplotlib",
    "jinja2",
    "tensorflow_serving",
    "ai_edge_litert",
    "onnx",
    "tf2onnx",
    "onnxruntime",
    "openvino",
    "starlette",
    "uvicorn",
    "selenium",
    "tensorflow_hub",
    "tf_keras",
    "pyarrow",
}
MODULES = [p for p in sorted(ROOT.rglob("*.py")) if p != ROOT / "__init__.py"]


def imports(path):
    """Yields (module below keras_transfer or outside name, whether it's at the top of the file)."""
    tree = ast.parse(path.read_text())
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(tree):
        top = node in tree.body
        if isinstance(node, ast.Import):
            yield from ((alias.name, top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1]
            names = [node.module] if node.module else [alias.name for alias in node.names]
            yield from ((".".join(("keras_transfer", *base, name)), top) for name in names)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports(path):
    mine = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name, top in imports(path):
        parts = name.split(".")
        if parts[0] == "keras_transfer" and len(parts) > 1 and parts[1] != mine:
            assert LAYER[parts[1]] <= LAYER[mine], f"{path} imports {name}, which lies above it"
            assert not (mine in APART and parts[1] in APART), f"{path} imports {name}"
        assert not (top and parts[0] in OPTIONAL), f"{path} imports {name} at the top of the file"


def test_every_module_has_its_layer():
    assert {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in MODULES} == set(LAYER)


def test_private_names_of_keras_are_in_compat_only():
    """Attributes that begin with an underscore are read from `self`, `cls` or modules of ours, elsewhere from nothing."""
    ours = {"_check", "_compat", "_REGISTERING"}
    for path in MODULES:
        if path.name == "_compat.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                owner = node.value.id if isinstance(node.value, ast.Name) else None
                assert owner in ("self", "cls") or node.attr in ours, f"{path}:{node.lineno} reads {node.attr}"


def test_the_check_sees_what_it_looks_for(tmp_path):
    assert ("tensorflow", False) in list(imports(ROOT / "distributing.py"))
    assert ("keras_transfer.data.scanning", False) in list(imports(ROOT / "loading.py"))
    assert LAYER["data"] < LAYER["loading"]
