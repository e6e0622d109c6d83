"""Imports run one way: `LAYERS`, from the lowest to the highest, is the order in docs/architecture.md."""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import unmingle
from unmingle.catalog import cards
from unmingle.models import MODELS

ROOT = Path(unmingle.__file__).parent
LAYERS = [
    "errors console spectrogram",
    "beamforming facts metrics",
    "catalog heads layers media",
    "models results",
    "weights_file",
    "runtime",
    "video",
    "data",
    "objectives",
    "inference training",
    "published",
    "batch __init__",
    "evaluation web",
    "cli",
    "__main__",
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names.split()}
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}


def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imports(module: str) -> Iterator[str]:
    """Modules of the package that a module imports anywhere, in its functions too."""
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "unmingle":
            whole = (node.module or "").partition(".")[2]
            for alias in node.names:
                inner = f"{whole}.{alias.name}".strip(".")
                yield inner if inner in FILES else whole or "__init__"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "unmingle":
                    yield alias.name.partition(".")[2] or "__init__"


def part(module: str) -> str:
    return module.split(".")[0]


def test_every_part_of_the_package_has_its_place() -> None:
    assert {part(module) for module in FILES} == set(RANK)


@pytest.mark.parametrize("name", sorted(RANK))
def test_a_part_imports_only_from_below(name: str) -> None:
    above = [
        (module, imported)
        for module in FILES
        if part(module) == name
        for imported in imports(module)
        if part(imported) != name and RANK[part(imported)] >= RANK[name]
    ]
    assert above == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    graph = {module: set(imports(module)) - {module} for module in FILES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(FILES)  # CycleError names a circle


@pytest.mark.parametrize("name", ["inference", "runtime", "training"])
def test_what_runs_and_trains_separators_names_none_and_asks_for_no_type(name: str) -> None:
    names = {*MODELS, *(card.name for card in cards())}
    types = {"Separator", "Enhancer", "nn.Module", *(model.__name__ for model in MODELS.values())}
    found = []
    for module in FILES:
        if part(module) != name:
            continue
        for node in ast.walk(tree(module)):
            if isinstance(node, ast.Constant) and node.value in names:
                found.append((module, node.value))
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("isinstance", "issubclass"):
                asked = set(re.findall(r"[\w.]+", ast.unparse(node.args[1])))
                found += [(module, each) for each in asked & types]
    assert found == []


def test_the_order_of_the_parts_is_documented() -> None:
    text = (Path(__file__).parents[1] / "docs/architecture.md").read_text(encoding="utf-8")
    for names in LAYERS[:-1]:
        assert f"`{names.removesuffix(' __init__')}`" in text
