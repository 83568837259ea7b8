"""The house itself: what stands where, and that no two things have one name. The layers are import-linter's."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

from support.places import ROOT

PACKAGE = ROOT / "notus_exp"
MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]
DOORS = {"__main__", "artifacts", "compare", "export", "power", "runs", "score", "task", "track", "errors"}
LIKE_DOORS = {"artifacts", "power", "__main__"}
"""Rooms called as the door that opens them; `__main__` is what Python starts, of the package and of a room of it."""
OF_EACH_EVALUATION = {"spec", "measure", "questions"}
"""Files that an evaluation's folder has, as every other one's."""


def trees() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in MODULES}


def test_nothing_but_doors_and_errors_stands_at_the_top() -> None:
    top = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert top == DOORS
    assert len(top) <= 10


def test_no_two_rooms_have_one_name() -> None:
    places = defaultdict(list)
    for path in MODULES:
        places[path.stem].append(path.relative_to(PACKAGE))
    folders = {path.name for path in PACKAGE.rglob("*") if (path / "__init__.py").exists()}
    twice = {name: found for name, found in places.items() if len(found) > 1}
    assert set(twice) - OF_EACH_EVALUATION - LIKE_DOORS == set()
    assert all(path.parts[0] == "evaluation" for name in OF_EACH_EVALUATION for path in places[name])
    assert folders & set(places) == set()


def test_no_two_types_have_one_name() -> None:
    places = defaultdict(list)
    for path, tree in trees().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path.relative_to(PACKAGE))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript | ast.Call):
                names = [one.id for one in node.targets if isinstance(one, ast.Name)]
                for name in (one for one in names if one[0].isupper() and not one.isupper()):
                    places[name].append(path.relative_to(PACKAGE))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_no_test_module_imports_another() -> None:
    found = []
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [f"{path.name}: {name}" for name in names if name.split(".")[-1].startswith("test_")]
    assert found == []


def test_words_for_a_reader_take_the_way_that_libraries_do_not() -> None:
    """`sys.stdout` and `sys.stderr` are the libraries', whose words go to a file; see `disk/streams.py`."""
    own = {"disk/streams.py"}
    own |= {
        "models/rendering_process.py",
        "run/worker_process.py",
        "run/calibration_process.py",
        "evaluation/lm_eval/tasks.py",
    }  # processes without a reader
    found = []
    for path, tree in trees().items():
        name = str(path.relative_to(PACKAGE))
        for node in ast.walk(tree) if name not in own else ():
            if isinstance(node, ast.Attribute) and node.attr in ("stdout", "stderr", "__stdout__", "__stderr__"):
                found += (
                    [f"{name}: sys.{node.attr}"] if isinstance(node.value, ast.Name) and node.value.id == "sys" else []
                )
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                found += [] if any(word.arg == "file" for word in node.keywords) else [f"{name}: print without a file"]
    assert found == []
