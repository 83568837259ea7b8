"""Stage `columns`: what completions are scored by beside their ratings, one Float64 column a name.

columns.parquet has one row a completion, ordered as the completions table:

    row, completion    as there (Int64)
    <name>             Float64, one a column that the settings name, in the order of the names; null where missing
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.disk.files import COLUMNS, COMPLETIONS
from notus_exp.scoring.score_files import JoinedScores, join_scores, read_scores, texts_needed
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ColumnsSettings

ID = ["row", "completion"]


def run(settings: ColumnsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write columns.parquet.

    Args:
        settings: Which columns, and what they are made of.
        inputs: `feedback`.
        out: Folder of the artifact.
        context: `sources["scores.NAME"]` holds the path of a file of scores.

    Returns:
        Facts: prompts, completions, and of each column of a file NAME/with_score and so on (`JoinedScores`).

    Raises:
        UserError: A file of scores cannot be read, or does not go with the feedback.
    """
    place = inputs["feedback"] / COMPLETIONS
    columns = pl.read_parquet(place, columns=["prompt_id", *ID], glob=False)
    facts: dict[str, Any] = {"prompts": columns["prompt_id"].n_unique(), "completions": columns.height}
    made: dict[str, pl.Series] = {}
    for done, (name, how) in enumerate(settings.joined.items()):
        context.events.progress(done, len(settings.joined))
        joined = _joined(name, how, place, Path(context.sources[f"scores.{name}"][0]))
        made[name] = joined.values
        facts |= {f"{name}/{count}": number for count, number in joined.counts.items()}
        context.events.say(_told(name, joined.counts))
    columns.select(*ID, **{name: made[name] for name in sorted(made)}).write_parquet(out / COLUMNS)
    context.events.progress(1, 1)
    return facts


def _joined(name: str, how: Mapping[str, Any], place: Path, path: Path) -> JoinedScores:
    scores = read_scores(path, how["column"], how["by"], f"scores.{name}")
    texts = texts_needed(scores.columns)
    known = pl.scan_parquet(place, glob=False).collect_schema().names()
    context = ["context"] if texts and "context" in known else []
    table = pl.read_parquet(place, columns=["prompt_id", *ID, *texts, *context], glob=False)
    return join_scores(table, scores, f"scores.{name}")


def _told(name: str, counts: Mapping[str, int]) -> str:
    """Say how many completions a column has scores of, and what of its file was left out."""
    whole = counts["with_score"] + counts["without_score"]
    left_out = {
        "unmatched": "of no completion here",
        "double": "said twice",
        "missing": "without a usable number",
    }
    rest = [f"{counts[count]} {what}" for count, what in left_out.items() if counts[count]]
    rest += [f"{counts['unclear']} completions share their prompt's id and number"] if counts["unclear"] else []
    return f"{name}: {counts['with_score']} of {whole} completions have a score" + "".join(f"; {one}" for one in rest)
