"""The stage `pairs`: reads the completions, writes the pairs, their counts and the report."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.contracts.manifest import read_manifest
from notus_exp.curation.annotator_report import annotators_found
from notus_exp.curation.columns import NAMED
from notus_exp.curation.contamination import read_prompts
from notus_exp.curation.counts import flat
from notus_exp.curation.page import render, summarise
from notus_exp.curation.pairs import Curated, assemble, decide, described
from notus_exp.curation.repair import ANEW
from notus_exp.disk.files import COLUMNS, COMPLETIONS, CURATION_HTML, CURATION_JSON, MANIFEST, PAIRS
from notus_exp.feedback.mixing import in_several
from notus_exp.stages.context import Context
from notus_exp.stages.settings import ANNOTATED, REANNOTATED, PairsSettings

READING = (
    *("records", "bad_rows", "multi_turn_prompts", "quarantined", "stripped", "emptied", "kept"),
    *("contradicting_scores", "tied_scores", "prompts_in_several", "corpus_records", "corpus_bad_rows"),
    *("corpus_prompts_read", "corpus_prompts", "corpus_completions", "common_beginnings", "answers_passed_over"),
)
"""Facts of the feedback, by the first part of their names, that tell how it was read."""
AT_ONCE = 100_000
"""Pairs whose texts are gathered at a time, where there are more."""
UNREAD = ("critique",)
"""Columns of the completions table that neither curation nor its report reads; UltraFeedback's are large."""


def write_pairs(pairs: pl.DataFrame, path: Path) -> None:
    """Write pairs as parquet. Snappy, as `datasets` writes, takes half the time of zstd and a third more disk."""
    pairs.write_parquet(path, compression="snappy")


def curate_to(path: Path, completions: pl.DataFrame, settings: PairsSettings, benchmark: Sequence[str]) -> Curated:
    """Curate and write the pairs; where they are many, a part at a time, so that no second copy of all texts is held.

    Returns:
        The pairs, or of many what `described` leaves of them, and the counts.
    """
    decided = decide(completions, settings, benchmark)
    if decided.pairs.height <= AT_ONCE:
        pairs = assemble(decided.table, decided.pairs)
        write_pairs(pairs, path)
        return Curated(pairs, decided.counts)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        for number, part in enumerate(decided.pairs.iter_slices(AT_ONCE)):
            write_pairs(assemble(decided.table, part), Path(folder) / f"{number:06}.parquet")
        parts = pl.scan_parquet(sorted(Path(folder).iterdir()), glob=False)
        parts.sink_parquet(path, compression="snappy")
    return Curated(described(decided.table, decided.pairs), decided.counts)


def with_columns_of(completions: pl.DataFrame, path: Path, names: Sequence[str]) -> pl.DataFrame:
    """Return the completions table with columns of columns.parquet, found by row and completion."""
    by = ["row", "completion"]
    made = pl.read_parquet(path, columns=[*by, *names], glob=False).rename({name: NAMED + name for name in names})
    return completions.join(made, on=by, how="left", maintain_order="left", validate="m:1")


def with_scores_anew(completions: pl.DataFrame, folder: Path) -> pl.DataFrame:
    """Return the completions table with the scores that an annotator gave in the place of those in doubt."""
    by = ["row", "completion"]
    made = pl.read_parquet(folder / COLUMNS, glob=False)
    [name] = [column for column in made.columns if column not in by]
    return completions.join(made.rename({name: ANEW}), on=by, how="left", maintain_order="left", validate="m:1")


def makers_of(names: Sequence[str], inputs: Collection[str]) -> dict[str, list[str]]:
    """Return the inputs that have columns, each with the names of those that are taken from it."""
    found: dict[str, list[str]] = {}
    for name in names:
        of_annotator = f"{ANNOTATED}{name}"
        found.setdefault(of_annotator if of_annotator in inputs else "columns", []).append(name)
    return found


def how_read(feedback: Path) -> dict[str, int]:
    """Return what the feedback's manifest says of reading it (see `CurationFile.reading`); {} without a manifest."""
    path = feedback / MANIFEST
    facts = read_manifest(path).facts if path.exists() else {}
    return {name: number for name, number in facts.items() if name.split("/")[0] in READING}


def by_corpus(completions: pl.DataFrame, pairs: pl.DataFrame) -> dict[str, int]:
    """Return `corpus_pairs/NAME` of each source of a mix: how many pairs are from it; {} where there is no mix."""
    if "corpus" not in completions.columns:
        return {}
    rows = completions.select("row", "corpus").unique()
    found = dict(pairs.select("row").join(rows, on="row").group_by("corpus").len().iter_rows())
    return {f"corpus_pairs/{name}": found.get(name, 0) for name in rows["corpus"].unique().sort()}


def run(settings: PairsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Curate the feedback.

    Args:
        settings: The settings that the stage's key hashes.
        inputs: `feedback`: the folder with completions.parquet; `columns`: that with columns.parquet, where
            expressions name a column of it; `annotations_NAME`: what the annotator of that name said; `reannotated`:
            the overall scores that were given anew.
        out: Gets pairs.parquet, curation.json and curation.html.
        context: `sources["contamination"]` holds the paths of the benchmark files.

    Returns:
        The counts on one level, such as `prompts_in`, `split/train` and `prompts_dropped/contaminated`, of a mix
        `corpus_pairs/NAME` and `prompts_in_several`, and `notes` where there are any.

    Raises:
        UserError: For settings that the feedback cannot serve, unreadable benchmark files, or when no pair is left.
    """
    path = inputs["feedback"] / COMPLETIONS
    columns = [name for name in pl.scan_parquet(path, glob=False).collect_schema() if name not in UNREAD]
    completions = pl.read_parquet(path, columns=columns, glob=False)
    for maker, names in makers_of(settings.columns, inputs).items():
        completions = with_columns_of(completions, inputs[maker] / COLUMNS, names)
    if REANNOTATED in inputs:
        completions = with_scores_anew(completions, inputs[REANNOTATED])
    files = [Path(file) for file in context.sources.get("contamination", [])]
    benchmark = [text for file in files for text in read_prompts(file, settings.filters.contamination.field)]
    context.events.progress(1, 4)
    curated = curate_to(out / PAIRS, completions, settings, benchmark)
    context.events.progress(3, 4, pairs=curated.pairs.height)
    annotators = annotators_found(completions, settings.aspects, inputs, curated.pairs.height)
    of_sources = by_corpus(completions, curated.pairs)
    if of_sources:  # anew: feedback of an earlier version counted by another rule than duplicates are taken by
        of_sources["prompts_in_several"] = in_several(completions)
    reading = how_read(inputs["feedback"]) | of_sources
    summary = summarise(completions, settings, curated, benchmark, reading, annotators)
    text = json.dumps(summary.numbers, indent=2, ensure_ascii=False, allow_nan=False)
    (out / CURATION_JSON).write_text(text + "\n", encoding="utf-8")
    (out / CURATION_HTML).write_text(render(summary), encoding="utf-8")
    context.events.progress(4, 4, pairs=curated.pairs.height)
    facts = {**flat(curated.counts), **of_sources, "benchmark_prompts": len(benchmark)}
    notes = summary.numbers["notes"]
    return {**facts, "notes": notes} if notes else facts
