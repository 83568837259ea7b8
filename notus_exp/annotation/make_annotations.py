"""Stage `annotations`: one annotator's verdicts on the completions of the feedback, and the column that they give.

columns.parquet has one row a completion, ordered as the completions table:

    row, completion    as there (Int64)
    <name>             Float64: the rating, a critique's overall score, or the reward model's score; of pairs the share
                       of comparisons with the prompt's other completions that it wins, in [0, 1]. Null where there is
                       no verdict.

A comparison is won where both orders name the same winner. What they disagree on is a tie, as is what one of them
calls a draw, and two completions with the same text, about which nobody is asked; a tie is a half for each. A
comparison of which a verdict failed counts for neither. annotations.parquet holds the verdicts (verdict_table.py), and
annotator.json what the report of the curation tells of them (contracts/annotator_file.py).
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from notus_exp.annotation import leanings
from notus_exp.annotation.questions_of_completions import CRITIQUE as CRITIQUE_COLUMN
from notus_exp.annotation.questions_of_completions import (
    READ,
    comparisons_of,
    gradings_of,
    one_by_one,
    together_of,
    with_text,
)
from notus_exp.annotation.stored import StoredSaying, read_stored, stored_verdicts
from notus_exp.annotation.verdict_table import ID, InWords, verdict_table
from notus_exp.config.annotator_items import told_of_annotator
from notus_exp.config.annotator_settings import CRITIQUES, RUBRIC_FILE, Annotator
from notus_exp.config.judge_settings import ChatJudge, Judge, OpenAIJudge, ReplayJudge, RewardModelJudge
from notus_exp.contracts.annotator_file import FORMAT, AnnotatorFile, Leaning
from notus_exp.curation.columns import OVERALL
from notus_exp.curation.comparisons import TIE, CompletionPairs, groups_of, outcomes, pairs_of_completions
from notus_exp.curation.repair import in_doubt
from notus_exp.disk.files import ANNOTATIONS, ANNOTATOR_JSON, COLUMNS, COMPLETIONS, VERDICT_CACHE
from notus_exp.errors import UserError
from notus_exp.judging.chat_models import JudgingSetting
from notus_exp.judging.json_questions import CRITIQUE, TOGETHER, ReadBy
from notus_exp.judging.judge import DRAW, Judged, grade, prefer
from notus_exp.judging.rating_by_json import rate_by_json
from notus_exp.judging.rubrics import rubric_of
from notus_exp.judging.templates import load_rubric_template
from notus_exp.judging.verdicts import MODEL_FIRST, NOT_APPLICABLE, REFERENCE_FIRST, Verdict, failures_of
from notus_exp.stages.context import Context
from notus_exp.stages.settings import AnnotationsSettings, DoubtfulScores

REASONS = 10
FAILED = pl.col("value").is_null() & (pl.col("reason") != NOT_APPLICABLE)
"""Of annotations.parquet: the verdicts that failed."""
RATING, PAIRS, SCORE = "rating", "pairs", "score"
"""What an annotator is asked for."""


class Sayings(NamedTuple):
    """Verdicts, and the words of each; None where there are none."""

    judged: Judged
    words: list[InWords] | None


class Annotated(NamedTuple):
    """What an annotator made of n completions with a text.

    Attributes:
        values: Of each, shape (n,); NaN where there is none.
        verdicts: As annotations.parquet has them.
        pairs: Which two completions of a prompt were compared, or can be by the values.
        won: By how much the other one of each won; see `comparisons.outcomes`.
        facts: Of the judging.
        first_preferred: Of pairs, and of completions rated together; see `AnnotatorFile`.
        contradicting: Of pairs, likewise.
    """

    values: NDArray[np.float64]
    verdicts: pl.DataFrame
    pairs: CompletionPairs
    won: NDArray[np.float64]
    facts: dict[str, Any]
    first_preferred: Leaning | None = None
    contradicting: Leaning | None = None


def run(settings: AnnotationsSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Write columns.parquet, annotations.parquet and annotator.json.

    Replies of chat models are cached below the stages: what was stopped, or asked in another run, costs nothing again.

    Args:
        settings: Who, and what moves a verdict.
        inputs: `feedback`.
        out: Folder of the artifact.
        context: `annotators` says how the judge is reached and paid, `sources["annotators.NAME.SETTING"]` where its
            files are.

    Returns:
        Facts of `judge.Judged`, and `prompts`, `completions`, `with_value` and `not_asked`; `doubtful` where only
        completions whose overall score is in doubt are asked about.

    Raises:
        UserError: The judge cannot be reached or paid, or does not answer; what came is cached. Too many verdicts
            failed.
    """
    annotator = located_annotator(context.annotators[settings.name], context.sources)
    table = read_completions(inputs["feedback"], settings.doubtful)
    shown = asked_about(table, settings.doubtful)
    with told_of_annotator(annotator.key):
        annotated = (_compare if annotator.pairs else _rate)(shown, annotator, context)
    _check_failures(annotator, annotated)
    values = np.full(table.height, math.nan)
    values[shown["place"].to_numpy()] = annotated.values
    column = pl.Series(settings.name, values).fill_nan(None)
    table.select("row", "completion").with_columns(column).write_parquet(out / COLUMNS)
    annotated.verdicts.write_parquet(out / ANNOTATIONS)
    without_text = 0 if settings.doubtful else table.height - shown.height
    told = _told(annotator, annotated, shown, without_text)
    text = json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False)
    (out / ANNOTATOR_JSON).write_text(text + "\n", encoding="utf-8")
    prompts = table["prompt_id"].n_unique()
    counts = {
        "prompts": prompts,
        "completions": table.height,
        "with_value": told["with_value"],
        "not_asked": told["not_asked"],
    }
    if settings.doubtful:
        counts["doubtful"] = shown.height
    failed = f"; {told['failed']} of {told['verdicts']} verdicts failed" if told["failed"] else ""
    of = f"{shown.height} completions whose score is in doubt" if settings.doubtful else f"{table.height} completions"
    context.events.say(f"{settings.name}: {told['with_value']} of {of} have a value{failed}")
    return {**annotated.facts, **counts}


def read_completions(feedback: Path, doubtful: DoubtfulScores | None = None) -> pl.DataFrame:
    """Return the completions table as far as annotating and its report read it.

    Args:
        feedback: Its folder.
        doubtful: Where only scores in doubt are asked about: then scores and critiques are read too.
    """
    path = feedback / COMPLETIONS
    wanted = (*READ, leanings.LATENT, *((OVERALL, CRITIQUE_COLUMN) if doubtful else ()))
    known = pl.scan_parquet(path, glob=False).collect_schema().names()
    read = [name for name in known if name in wanted or name.startswith("rating_")]
    return pl.read_parquet(path, columns=read, glob=False)


def asked_about(completions: pl.DataFrame, doubtful: DoubtfulScores | None) -> pl.DataFrame:
    """Return the completions that have a text and, where only scores in doubt are asked about, such a score."""
    shown = with_text(completions)
    return shown if doubtful is None else shown.filter(in_doubt(shown, doubtful))


def located_annotator(annotator: Annotator, sources: Mapping[str, list[str]]) -> Annotator:
    """Return an annotator with the local paths of its judge's files, and of its rubric where that is one.

    Args:
        annotator: As configured.
        sources: Local files by `annotators.NAME.SETTING`.
    """
    begins = f"annotators.{annotator.name}."
    files: dict[str, Any] = {
        key.removeprefix(begins): paths[0] for key, paths in sources.items() if key.startswith(begins)
    }
    rubric = files.pop(RUBRIC_FILE, annotator.rubric)
    return replace(annotator, judge=replace(annotator.judge, **files), rubric=rubric)


# -------------------------------------------------------------------------------------------------------------- ratings
def _rate(completions: pl.DataFrame, annotator: Annotator, context: Context) -> Annotated:
    judged, words = _ratings(completions, annotator, context)
    values = _numbers([verdict.value for verdict in judged.verdicts])
    pairs = pairs_of_completions(groups_of(completions))
    verdicts = verdict_table(completions, judged.verdicts, range(completions.height), said=words)
    won = outcomes(pairs, values)
    earlier = None
    if annotator.together:
        places = np.array([int(verdict.order) for verdict in judged.verdicts], dtype=np.int64)
        earlier = leanings.earlier_preferred(pairs, won, places)
    return Annotated(values, verdicts, pairs, won, judged.facts, earlier)


def _ratings(completions: pl.DataFrame, annotator: Annotator, context: Context) -> Sayings:
    judge = annotator.judge
    if isinstance(judge, ReplayJudge):
        stored = read_stored(Path(judge.path), pairs=False)
        return _replayed(stored_verdicts(stored, completions.select(*ID).rows(), None))
    if isinstance(judge, ChatJudge) and annotator.in_json:
        return _in_json(completions, annotator, judge, context)
    template = Path(judge.template) if isinstance(judge, ChatJudge) and judge.template else None
    judged = grade(
        gradings_of(completions),
        judge,
        context.cache / VERDICT_CACHE,
        context.events.progress,
        hardware=context.hardware,
        rubric=load_rubric_template(annotator.rubric, template, annotator.ends)
        if isinstance(judge, ChatJudge)
        else None,
        **context.paying(),
    )
    return Sayings(judged, None)


def _in_json(completions: pl.DataFrame, annotator: Annotator, judge: ChatJudge, context: Context) -> Sayings:
    """Rate all completions of a prompt together, or write a critique of each; what was shuffled is in order again."""
    shown = (together_of if annotator.together else one_by_one)(completions)
    setting = JudgingSetting(context.cache / VERDICT_CACHE, context.events.progress, **context.paying())
    rated = rate_by_json(shown.questions, read_by(annotator), judge, setting)
    verdicts: dict[int, Verdict] = {}
    words: dict[int, InWords] = {}
    for places, said, entries in zip(shown.places, rated.verdicts, rated.entries, strict=True):
        for place, verdict, entry in zip(places, said, entries, strict=True):
            verdicts[place], words[place] = verdict, InWords(entry.rationale, entry.types)
    every = range(completions.height)
    return Sayings(Judged([verdicts[place] for place in every], rated.facts), [words[place] for place in every])


def read_by(annotator: Annotator) -> ReadBy:
    """Return what an annotator that answers in JSON is asked for.

    Args:
        annotator: With the local path of its rubric, where that is a file.

    Raises:
        UserError: Its rubric is a file that is none.
    """
    form = CRITIQUE if annotator.form == CRITIQUES else TOGETHER
    return ReadBy(form, rubric_of(annotator.rubric), annotator.ends)


# ---------------------------------------------------------------------------------------------------------------- pairs
def _compare(completions: pl.DataFrame, annotator: Annotator, context: Context) -> Annotated:
    pairs, asked, questions = comparisons_of(completions)
    one, other = (np.repeat(side[asked], 2) for side in (pairs.one, pairs.other))
    words: list[InWords] | None = None
    if isinstance(annotator.judge, ReplayJudge):
        stored = read_stored(Path(annotator.judge.path), pairs=True)
        ids = completions.select(*ID).rows()
        orders = (REFERENCE_FIRST, MODEL_FIRST) * len(questions)
        wanted = [(*ids[a], ids[b][2], order) for a, b, order in zip(one, other, orders, strict=True)]
        judged, words = _replayed(stored_verdicts(stored, wanted, (1.0, 2.0)))
    else:
        judged = prefer(
            questions,
            annotator.judge,
            context.cache / VERDICT_CACHE,
            context.events.progress,
            hardware=context.hardware,
            **context.paying(),
        )
    said = _numbers([verdict.value for verdict in judged.verdicts])
    first, second = said[::2], said[1::2]  # the orders of a comparison stand next to each other
    won = np.full(len(asked), TIE)
    won[asked] = both_orders(first, second)
    groups = np.repeat(pairs.group[asked], 2).tolist()
    return Annotated(
        share_won(pairs, won, completions.height),
        verdict_table(completions, judged.verdicts, one.tolist(), other.tolist(), words),
        pairs,
        won,
        judged.facts,
        leanings.first_preferred(
            [verdict.order for verdict in judged.verdicts], [verdict.value for verdict in judged.verdicts], groups
        ),
        leanings.contradicting(first, second, pairs.group[asked]),
    )


def both_orders(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return who wins by the verdicts in both orders: 1 the other one, 0 the first, `TIE` where they disagree.

    Args:
        first: Verdicts in one order, in [1, 2], 2 = the other one wins, `DRAW` between; NaN where one failed.
        second: Those in the other order, of the same meaning.

    Returns:
        Shape as given; NaN where either failed.
    """
    won = np.where((first > DRAW) & (second > DRAW), 1.0, np.where((first < DRAW) & (second < DRAW), 0.0, TIE))
    return np.where(np.isnan(first) | np.isnan(second), math.nan, won)


def share_won(pairs: CompletionPairs, won: NDArray[np.float64], completions: int) -> NDArray[np.float64]:
    """Return which share of its comparisons each completion wins, a tie being a half; NaN where it has none.

    Args:
        pairs: The comparisons, n of them.
        won: As of `both_orders`, shape (n,).
        completions: How many there are.
    """
    known = ~np.isnan(won)
    one, other, won = pairs.one[known], pairs.other[known], won[known]
    points = np.bincount(other, won, completions) + np.bincount(one, 1 - won, completions)
    number = np.bincount(other, minlength=completions) + np.bincount(one, minlength=completions)
    share: NDArray[np.float64] = np.divide(points, number, out=np.full(completions, math.nan), where=number > 0)
    return share


# ----------------------------------------------------------------------------------------------------------------- both
def _replayed(stored: list[StoredSaying]) -> Sayings:
    verdicts = [one.verdict for one in stored]
    facts = {"verdicts": len(verdicts), "failed": failures_of(verdicts)}
    return Sayings(Judged(verdicts, facts), [one.words for one in stored])


def _check_failures(annotator: Annotator, annotated: Annotated) -> None:
    verdicts, failed = annotated.facts["verdicts"], annotated.facts["failed"]
    most = annotator.judge.max_failure_rate
    if verdicts and failed > most * verdicts:
        [(reason, times), *_] = _reasons(annotated.verdicts).items()
        raise UserError(
            f"{annotator.key}: {failed} of {verdicts} verdicts of '{annotator.name}' failed, above "
            f"max_failure_rate={most:g}; the most frequent reason ({times}): {reason}",
            f"replies are kept: {asking_again(annotator.judge)}mend the template, or raise "
            f"{annotator.key}.max_failure_rate",
        )


def asking_again(judge: Judge) -> str:
    """Return the words that have failed questions asked once more than they were, with what follows them."""
    again = judge.ask_again if isinstance(judge, OpenAIJudge) else 0
    return f"ask once more for these with ask_again: {again + 1}, "


def _reasons(verdicts: pl.DataFrame) -> dict[str, int]:
    counts = Counter(verdicts.filter(FAILED)["reason"].to_list())
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:REASONS])


def _told(annotator: Annotator, annotated: Annotated, completions: pl.DataFrame, not_asked: int) -> AnnotatorFile:
    judge, verdicts = annotator.judge, annotated.verdicts
    lengths = completions["response"].str.len_chars().cast(pl.Int64).to_numpy()
    scored = isinstance(judge, RewardModelJudge)
    model = "" if scored or isinstance(judge, ReplayJudge) else judge.model
    tokens = verdicts.select(pl.col("prompt_tokens") + pl.col("completion_tokens")).to_series()
    return {
        "format": FORMAT,
        "name": annotator.name,
        "judge": {"name": judge.name, **({"model": Path(judge.model).name} if judge.model else {})},
        "asked_for": _asked_for(annotator),
        "verdicts": verdicts.height,
        "failed": verdicts.filter(FAILED).height,
        "not_applicable": verdicts["value"].null_count() - verdicts.filter(FAILED).height,
        "types": _types(verdicts["types"]),
        "reasons": _reasons(verdicts),
        "not_asked": not_asked,
        "with_value": int((~np.isnan(annotated.values)).sum()),
        "first_preferred": annotated.first_preferred,
        "contradicting": annotated.contradicting,
        "longer_preferred": leanings.longer_preferred(annotated.pairs, annotated.won, lengths),
        "self_preference": leanings.self_preference(annotated.pairs, annotated.won, completions, model),
        "tokens": None if tokens.null_count() else int(tokens.sum()),
        "usd": _usd(verdicts["cost"]),
    }


def _asked_for(annotator: Annotator) -> str:
    if isinstance(annotator.judge, RewardModelJudge):
        return SCORE
    ways = {PAIRS: annotator.pairs, TOGETHER: annotator.together, CRITIQUE: annotator.form == CRITIQUES}
    return next((way for way, chosen in ways.items() if chosen), RATING)


def _types(named: pl.Series) -> dict[str, int]:
    """Return how often each type of a rubric is named, the most frequent first."""
    counts = Counter(named.explode().drop_nulls().to_list())
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _usd(costs: pl.Series) -> float | None:
    """Return what verdicts cost together, None where it is not known of any; see `Verdict.cost`."""
    return None if costs.null_count() == len(costs) else round(float(costs.sum()), 6)


def _numbers(values: Sequence[float | None]) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
