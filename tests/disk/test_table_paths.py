"""A table is read from the path that is given: a bracket or a star in a folder's name is no pattern."""

from __future__ import annotations

import ast
from pathlib import Path

import polars as pl

from support.places import ROOT

READERS = ("read_parquet", "scan_parquet", "read_csv", "scan_csv")
PATTERNS_ALWAYS = ("read_parquet_schema", "read_ndjson", "scan_ndjson", "read_ipc", "scan_ipc")
"""What Polars reads by patterns and offers no way out of, but to hand it what was read."""


def test_every_table_is_read_by_its_path_and_by_no_pattern() -> None:
    wrong = []
    for path in sorted((ROOT / "notus_exp").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "pl"):
                continue
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            name = node.func.attr
            if node.args and ".read_bytes()" in ast.unparse(node.args[0]):  # a file's content is no pattern
                continue
            if name in PATTERNS_ALWAYS or (name in READERS and given.get("glob") != "False"):
                wrong.append(f"{path.relative_to(ROOT)}:{node.lineno} {name}")
    assert wrong == []


def test_without_patterns_polars_reads_the_folder_that_is_named(tmp_path: Path) -> None:
    for name, value in (("run[1]", 1), ("run1", 2), ("[bold]", 3), ("a*b?", 4)):
        (tmp_path / name).mkdir()
        pl.DataFrame({"x": [value]}).write_parquet(tmp_path / name / "t.parquet")
        pl.DataFrame({"x": [value]}).write_csv(tmp_path / name / "t.csv")
        pl.DataFrame({"x": [value]}).write_ndjson(tmp_path / name / "t.jsonl")
        assert pl.read_parquet(tmp_path / name / "t.parquet", glob=False)["x"].to_list() == [value]
        assert pl.scan_parquet(tmp_path / name / "t.parquet", glob=False).collect()["x"].to_list() == [value]
        assert pl.read_csv(tmp_path / name / "t.csv", glob=False)["x"].to_list() == [value]
        assert pl.read_ndjson((tmp_path / name / "t.jsonl").read_bytes())["x"].to_list() == [value]
