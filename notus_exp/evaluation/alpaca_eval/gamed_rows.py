"""The gamed baseline's rows, which AlpacaEval's length control is pinned by: from its own table or from annotations."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.length_control import spread
from notus_exp.evaluation.alpaca_eval.length_published import GAMED_SETS
from notus_exp.evaluation.alpaca_eval.published import (
    Preferences,
    named_alike,
    named_prompts,
    of_other_references,
    read_annotations,
)
from notus_exp.evaluation.alpaca_eval.win_rates import points
from notus_exp.evaluation.kit.published_files import one_of, read_csv
from notus_exp.judging.verdict_origin import VerdictOrigin, check_same_origin, origin_of, tells_origin

_WHAT = "gamed"
_SETS = ("verbose", "concise")
_MODEL_COLUMNS = ("generator_2", "model", "generator")
_AS_PUBLISHED = "give the baseline's verbose and its concise answers, named BASELINE_verbose and BASELINE_concise"
_TEXTS = ("variant", "folded", "reference", "answer")


class Gamed(NamedTuple):
    """The gamed rows.

    Attributes:
        table: `prompt_id, points` (share of a win in [0, 1]; null without a verdict), `std_delta_len` (characters of
            the reference less the gamed answer, divided by the standard deviation in its set); two rows a prompt.
            Also `variant` (the name of the model that answered) and `folded, reference, answer` (hash of the folded
            prompt, and the texts), null where a file does not tell.
        origin: Whose verdicts they are.
    """

    table: pl.DataFrame
    origin: VerdictOrigin


def read_gamed(paths: Sequence[Path], prompts: Path | None = None) -> Gamed:
    """Read both gamed sets: one .csv of AlpacaEval's layout, or an annotations.json of each set.

    Args:
        paths: A CSV with `preference` (a share in [0, 1]), `std_delta_len` and a column that names the prompt; or two
            annotations, of the verbose and of the concise baseline.
        prompts: CSV with `index` and `instruction_sha16`, for a CSV that only has `index`.

    Raises:
        UserError: A file cannot be used, the sets are of several judges or references, or a prompt has not two rows.
    """
    parts = [_of_csv(path, prompts) if path.suffix == ".csv" else _of_annotations(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        check_same_origin((str(paths[0]), str(path)), (parts[0].origin, part.origin))
    table = pl.concat([named_alike(part.table, parts[0].table) for part in parts])
    counts = table.group_by("prompt_id", maintain_order=True).len()
    wrong = counts.filter(pl.col("len") != GAMED_SETS)
    if wrong.height:
        raise UserError(
            f"{_WHAT}: prompt {wrong['prompt_id'][0]} has {wrong['len'][0]} gamed rows ({wrong.height} such prompts)",
            "give both sets, the verbose and the concise baseline: one .csv with both, or --gamed twice with an"
            " annotations.json each",
        )
    lengths = table.group_by("prompt_id").agg(differ=pl.col("std_delta_len").n_unique() > 1)
    if not lengths["differ"].any():
        raise UserError(f"{_WHAT}: both sets are the same answers, by their lengths on all prompts", _AS_PUBLISHED)
    return Gamed(table, parts[0].origin)


def check_gamed(gamed: Gamed, model: Preferences) -> tuple[pl.DataFrame, list[str]]:
    """Check that gamed rows are of the baseline that a model is judged against: by their names and their texts.

    Returns:
        The gamed rows by the model's prompt ids, and sentences on what the files do not tell.

    Raises:
        UserError: They are of another judge or reference model, are not named as the verbose and the concise baseline,
            are against other reference answers, or are the model's own answers.
    """
    unchecked = check_same_origin((model.name, "the gamed rows"), (model.origin, gamed.origin))
    table = named_alike(gamed.table, model.table)
    unchecked += _check_names(table, model.origin.reference or gamed.origin.reference)
    _check_texts(table, model)
    return table, unchecked


def _check_names(table: pl.DataFrame, baseline: str | None) -> list[str]:
    """Refuse rows that are not one of each set a prompt by the names of their models; say where they have none."""
    sets = {name: _set_of(name, baseline) for name in table["variant"].drop_nulls().unique(maintain_order=True)}
    wrong = [name for name, found in sets.items() if found is None]
    if wrong:
        of = f" of '{baseline}'" if baseline else ""
        raise UserError(f"{_WHAT}: rows of '{wrong[0]}' are not of the verbose or concise baseline{of}", _AS_PUBLISHED)
    named = table.drop_nulls("variant").select("prompt_id", found=pl.col("variant").replace_strict(sets))
    twice = named.filter(pl.struct("prompt_id", "found").is_duplicated())
    if twice.height:
        prompt, found = twice.row(0)
        raise UserError(f"{_WHAT}: both rows of prompt {prompt} are of the {found} baseline", _AS_PUBLISHED)
    if named.height == table.height:
        return []
    return ["the gamed rows name no model: that they are the baseline's verbose and concise answers is not checked"]


def _set_of(name: str, baseline: str | None) -> str | None:
    """Return which gamed set a model's name says: that of the baseline, or a bare `verbose`; None where neither."""
    words: list[str] = re.findall(r"[^\W_]+", (name.removeprefix(baseline) if baseline else name).lower())
    if not words or words[-1] not in _SETS or (baseline and len(words) > 1):
        return None
    return words[-1]


def _check_texts(table: pl.DataFrame, model: Preferences) -> None:
    """Refuse rows that stand against other reference answers than the model's, and such as are the model's own."""
    told = table.drop_nulls("answer")
    if told.is_empty():
        return
    other = of_other_references(told, model.table)
    if len(other):
        raise UserError(
            f"{_WHAT}: {len(other)} rows, such as of prompt {other[0]}, are against other reference answers than those"
            f" of '{model.name}'",
            "give the gamed rows of the baseline that the model is judged against",
        )
    both = told.join(model.table.select("prompt_id", "model"), on="prompt_id", maintain_order="left")
    for (name,), rows in both.group_by("variant", maintain_order=True):
        if (rows["answer"] == rows["model"]).all():
            raise UserError(f"{_WHAT}: the answers of '{name}' are those of '{model.name}' itself", _AS_PUBLISHED)


def _of_csv(path: Path, prompts: Path | None) -> Gamed:
    table = read_csv(path, _WHAT)
    columns = {name: one_of(table, [name], path, _WHAT) for name in ("preference", "std_delta_len")}
    for name in columns:
        if not table[name].dtype.is_numeric():
            raise UserError(f"{_WHAT}: column '{name}' of '{path}' holds text", "it must be a number, or empty")
    outside = table.filter(~pl.col("preference").fill_nan(None).is_between(0, 1))
    if outside.height:
        raise UserError(
            f"{_WHAT}: a preference of '{path}' is {outside['preference'][0]} ({outside.height} such rows)",
            "in this layout it is the share of a win, from 0 to 1",
        )
    numbers = table.select(points=pl.col("preference").cast(pl.Float64).fill_nan(None), std_delta_len="std_delta_len")
    model = next((name for name in _MODEL_COLUMNS if name in table.columns), None)
    told = {name: table[name] for name in table.columns if tells_origin(name, table[name])}
    none = pl.lit(None, pl.String)
    rows = numbers.select(
        named_prompts(table, path, _WHAT, prompts),
        "points",
        pl.col("std_delta_len").cast(pl.Float64),
        **dict.fromkeys(_TEXTS, none),
    )
    if model is not None:
        rows = rows.with_columns(variant=table[model].cast(pl.String))
    return Gamed(rows, origin_of(told, _WHAT, path))


def _of_annotations(path: Path) -> Gamed:
    read = read_annotations(path)
    reference, gamed = (read.table[name].str.len_chars().cast(pl.Float64).to_numpy() for name in ("reference", "model"))
    dlen = reference - gamed
    sd = spread(dlen)
    if sd == 0:
        raise UserError(f"{_WHAT}: all answers of '{path}' differ equally from their references in length")
    shares = points(read.table["preference"]) / 100
    rows = read.table.select(
        "prompt_id",
        "folded",
        "reference",
        points=shares,
        std_delta_len=pl.Series(dlen / sd),
        answer="model",
        variant=pl.lit(read.name),
    )
    return Gamed(rows.select("prompt_id", "points", "std_delta_len", *_TEXTS), read.origin)
