"""Task files of one's own for lm-evaluation-harness, read as data alone: what would make it run code is refused.

The harness takes functions from files, hands a metric that it does not know to a library that runs programs of the hub
or of a path, and hands a task's settings of generation to the model, which runs programs too. Needs no harness.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from notus_exp.errors import UserError, did_you_mean, first_line

TAGS = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("binary", "bool", "float", "int", "map", "merge", "null", "omap", "pairs", "seq", "set", "str",
                 "timestamp", "value", "yaml")
)  # fmt: skip
"""YAML's own tags; the harness, and some readers of YAML, take others as Python code to import."""
METRICS = frozenset(
    ("acc", "acc_all", "acc_bytes", "acc_mutual_info", "acc_norm", "bits_per_byte", "bleu", "brier_score",
     "byte_perplexity", "bypass", "chrf", "chrf++", "exact_match", "f1", "likelihood", "mcc", "perplexity", "ter",
     "word_perplexity")
)  # fmt: skip
"""The harness's own metrics (lm_eval/api/metrics.py)."""
FILTERS = frozenset(
    ("decontaminate", "format_span", "lowercase", "majority_vote", "map", "multi_choice_regex", "regex", "regex_pos",
     "remove_whitespace", "take_first", "take_first_k", "uppercase")
)  # fmt: skip
"""The harness's own filters of answers (lm_eval/filters), without `custom`, which calls a function."""
CODE_SETTINGS = frozenset(
    ("class", "custom_dataset", "custom_generate", "filter_fn", "hf_evaluate", "process_docs", "process_results",
     "trust_remote_code", "unsafe_code")
)  # fmt: skip
"""Settings that are code, name some, or allow it; of the harness, of `datasets` and of the model's `generate`."""
ELSEWHERE = frozenset(("include", "use_prompt"))
"""Settings that read another file, or another package's prompts."""
REMEDY = "a config never names code: write the task with Jinja templates"


def check_task_files(folder: Path) -> None:
    """Refuse a folder of task files where one of them names code or includes files elsewhere.

    Raises:
        UserError: Naming the file and what in it is refused, or that it cannot be read as YAML.
    """
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".yaml", ".yml")):
        try:
            text = path.read_text(encoding="utf-8")
            tags = {event.tag for event in yaml.parse(text, Loader=yaml.SafeLoader) if getattr(event, "tag", None)}
            if not tags <= TAGS:
                raise UserError(f"{path} names code to import (a YAML tag such as !function)", REMEDY)
            content = yaml.safe_load(text)
        except RecursionError as error:
            raise UserError(f"{path} is nested too deep to be read") from error
        except (yaml.YAMLError, ValueError, TypeError, OSError) as error:  # YAML's reader lets Python's errors through
            raise UserError(f"{path} cannot be read as YAML: {first_line(error)}") from error
        for key, value in _settings(content, set()):
            _check_setting(path, key, value)


def _settings(node: Any, seen: set[int]) -> Iterator[tuple[str, Any]]:
    """Yield every key of a task file with its value, at whatever depth; what aliases repeat once."""
    if not isinstance(node, dict | list) or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, dict):
        yield from ((key, value) for key, value in node.items() if isinstance(key, str))
    for value in node.values() if isinstance(node, dict) else node:
        yield from _settings(value, seen)


def _check_setting(path: Path, key: str, value: Any) -> None:
    if key in ELSEWHERE:
        raise UserError(
            f"{path} includes another file ({key}), which is neither checked nor part of a key",
            "write its settings here",
        )
    if key in CODE_SETTINGS and value not in (None, False):
        raise UserError(f"{path} names code, or allows it, by {key}: {str(value)[:80]}", REMEDY)
    if key == "metric_list":
        _check_names(path, "metric", value, METRICS)
    if key == "filter":
        _check_names(path, "function", value, FILTERS)
    if key == "dataset_path" and _is_program(str(value)):
        raise UserError(
            f"{path}: dataset_path: {value} holds a Python program",
            "name a data set of the hub, or json and data_files",
        )


def _check_names(path: Path, key: str, entries: Any, known: frozenset[str]) -> None:
    """Check that each entry names something of the harness's own; what it does not know it loads as a program."""
    for entry in entries if isinstance(entries, list) else [entries]:
        name = entry.get(key) if isinstance(entry, dict) else entry
        if name is not None and (not isinstance(name, str) or name not in known):
            raise UserError(
                f"{path}: {key}: {str(name)[:80]} is none of the harness's own, and would be run as a program",
                did_you_mean(str(name), known),
            )


def _is_program(place: str) -> bool:
    folder = Path(place).expanduser()
    return place.endswith(".py") or (folder.is_dir() and any(folder.glob("*.py")))
