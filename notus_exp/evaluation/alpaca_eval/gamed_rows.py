"""The gamed baseline's rows, which AlpacaEval's length control is pinned by: from its own table or from annotations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.length_control import spread
from notus_exp.evaluation.alpaca_eval.length_published import GAMED_SETS
from notus_exp.evaluation.alpaca_eval.published import named_prompts, read_annotations
from notus_exp.evaluation.alpaca_eval.win_rates import points
from notus_exp.evaluation.kit.published_files import one_of, read_csv
from notus_exp.judging.verdict_origin import VerdictOrigin, check_same_origin

_WHAT = "gamed"


class Gamed(NamedTuple):
    """The gamed rows.

    Attributes:
        table: `prompt_id, points` (share of a win in [0, 1]; null without a verdict), `std_delta_len` (characters of
            the reference less the gamed answer, divided by the standard deviation in its set); two rows a prompt.
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
    table = pl.concat([part.table for part in parts])
    counts = table.group_by("prompt_id", maintain_order=True).len()
    wrong = counts.filter(pl.col("len") != GAMED_SETS)
    if wrong.height:
        raise UserError(
            f"{_WHAT}: prompt {wrong['prompt_id'][0]} has {wrong['len'][0]} gamed rows ({wrong.height} such prompts)",
            "give both sets, the verbose and the concise baseline: one .csv with both, or --gamed twice with an"
            " annotations.json each",
        )
    return Gamed(table, parts[0].origin)


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
    return Gamed(
        numbers.select(named_prompts(table, path, _WHAT, prompts), "points", pl.col("std_delta_len").cast(pl.Float64)),
        VerdictOrigin(),
    )


def _of_annotations(path: Path) -> Gamed:
    read = read_annotations(path)
    reference, gamed = (read.table[name].str.len_chars().cast(pl.Float64).to_numpy() for name in ("reference", "model"))
    dlen = reference - gamed
    sd = spread(dlen)
    if sd == 0:
        raise UserError(f"{_WHAT}: all answers of '{path}' differ equally from their references in length")
    shares = points(read.table["preference"]) / 100
    return Gamed(read.table.select("prompt_id", points=shares, std_delta_len=pl.Series(dlen / sd)), read.origin)
