"""`score alpaca_eval`: stored preferences of one model, or of two compared prompt by prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from notus_exp.errors import UserError
from notus_exp.evaluation.alpaca_eval.gamed_rows import check_gamed, read_gamed
from notus_exp.evaluation.alpaca_eval.length_adjusted import length_adjusted
from notus_exp.evaluation.alpaca_eval.length_control import (
    CAUTIONS,
    LABELS,
    LengthControlled,
    predict_length_controlled,
    shrunken,
    why_none,
)
from notus_exp.evaluation.alpaca_eval.length_held import length_by_held_weights
from notus_exp.evaluation.alpaca_eval.length_published import length_controlled
from notus_exp.evaluation.alpaca_eval.published import (
    OF_ONE_JUDGE,
    Place,
    Preferences,
    baseline_of_weights,
    models_with_weights,
    named_alike,
    of_other_references,
    place_in_leaderboard,
    read_annotations,
    read_difficulty,
    read_preference_column,
    read_weights,
)
from notus_exp.evaluation.alpaca_eval.win_rates import DRAW_POINTS, estimates, measure, points
from notus_exp.external.paired_report import Unit, describe
from notus_exp.inference.paired import mcnemar, paired_comparison
from notus_exp.judging.verdict_origin import check_same_origin
from notus_exp.reporting.tables import Report, Table, number, span

_CSV = ".csv:"


@dataclass(frozen=True)
class AlpacaEvalOptions:
    """What the command line asks for; files as given, None where not."""

    margins: Sequence[float]
    effect: float
    leaderboard: Path | None = None
    difficulty: Path | None = None
    prompts: Path | None = None
    weights: Path | None = None
    model: str | None = None
    gamed: Sequence[Path] = ()


def report(a: str | None, b: str | None, options: AlpacaEvalOptions) -> Report:
    """Score one model's stored preferences, or two and their paired difference.

    Args:
        a: annotations.json, or `FILE.csv:COLUMN`; None where only published weights are asked about.
        b: The same of a second model, or None.
        options: The rest of the command line.

    Raises:
        UserError: A file cannot be used, the options do not fit or would change nothing, or the models differ in their
            judge, their reference model or their prompts.
    """
    _check_options([spec for spec in (a, b) if spec is not None], options)
    sides = [_read(spec, options.prompts) for spec in (a, b) if spec is not None]
    if len(sides) == 2:
        sides[1] = sides[1]._replace(table=named_alike(sides[1].table, sides[0].table))
    labels = _labels([spec for spec in (a, b) if spec is not None], sides)
    scored = [_one(side, options) for side in sides]
    found = Report({"models": [data for data, _, _ in scored]})
    if sides:
        found.tables.append(_table(labels, [rows for _, rows, _ in scored]))
    found.sentences += [sentence for _, _, sentences in scored for sentence in sentences]
    if options.weights is not None and (options.model is not None or not sides or options.difficulty is None):
        _add_published(found, options)
    if len(sides) == 2:
        left, right = (side._replace(name=label) for side, label in zip(sides, labels, strict=True))
        _add_paired(found, left, right, options)
    return found


def _check_options(specs: Sequence[str], options: AlpacaEvalOptions) -> None:
    """Refuse options that would change nothing here: who gives one takes it for heard."""
    if options.model is not None and options.weights is None:
        raise UserError(
            f"--model {options.model} names a model of published weights, and none are given", "add --lc-weights FILE"
        )
    if not specs:
        for flag, given in (("--gamed", options.gamed), ("--leaderboard", options.leaderboard)):
            if given:
                raise UserError(f"{flag} does nothing without preferences", "give annotations.json, or FILE.csv:COLUMN")
    if options.gamed and options.weights is not None and options.model is None:
        raise UserError(
            "--gamed and --lc-weights are two ways to control the length of A and B",
            "leave one of them out, or predict a model by its published weights with --model NAME",
        )
    if options.prompts is None:
        return
    tables = [spec for spec in specs if _CSV in spec] + [path for path in options.gamed if path.suffix == ".csv"]
    if not tables:
        raise UserError(
            "--prompts names the prompts of a CSV of preferences that has their index alone, and there is none",
            "leave it out, or give FILE.csv:COLUMN",
        )
    if not options.prompts.is_file():
        raise UserError(f"--prompts: there is no file '{options.prompts}'", "give a CSV of index and instruction_sha16")


def _labels(specs: Sequence[str], sides: Sequence[Preferences]) -> list[str]:
    """Return what each side is called: its model, with its file where both are of one model."""
    names = [side.name for side in sides]
    if len(set(names)) == len(names):
        return names
    return [f"{name} of {spec}" for name, spec in zip(names, specs, strict=True)]


def _read(spec: str, prompts: Path | None) -> Preferences:
    if _CSV in spec:
        path, _, column = spec.partition(_CSV)
        return read_preference_column(Path(f"{path}.csv"), column, prompts)
    if spec.endswith(".csv"):
        raise UserError(f"preferences: '{spec}' names no column", "write FILE.csv:COLUMN")
    return read_annotations(Path(spec))


def _one(side: Preferences, options: AlpacaEvalOptions) -> tuple[dict[str, Any], list[tuple[str, str]], list[str]]:
    """Return a model's figures, its column of the table and its sentences."""
    score, interval = measure(side.table), estimates(side.table)["alpaca_eval/win_rate"]
    data: dict[str, Any] = {"name": side.name, **score._asdict(), "interval": [interval.low, interval.high]}
    rows = [
        ("win rate, %", number(score.win_rate)),
        ("95 % interval", span(interval.low, interval.high)),
        ("standard error", number(score.standard_error)),
        ("wins", str(score.n_wins)),
        ("reference wins", str(score.n_wins_base)),
        ("draws", str(score.n_draws)),
        ("verdicts", str(score.n_total)),
        ("no verdict", str(score.n_missing)),
        ("off the scale", str(score.n_invalid)),
        ("discrete win rate, %", number(score.discrete_win_rate)),
        ("average length, characters", "-" if score.avg_length is None else str(score.avg_length)),
    ]
    sentences = []
    if (controlled := _controlled(side, options)) is not None:
        found, said = controlled
        data[found.estimator] = found
        rate, label = found.win_rate, LABELS[found.estimator]
        interval_of = f"95 % interval of {label.partition(',')[0]}, bootstrap"
        rows += [(label, number(rate.value)), (interval_of, span(rate.low, rate.high))]
        data["length_notes"] = [*said, *_about_length_control(side.name, found)]
        sentences += data["length_notes"]
    if options.leaderboard is not None and score.n_total:
        place = place_in_leaderboard(interval, options.leaderboard, name=side.name)
        data["place"] = place
        rows.append(("place", f"{place.rank} of {place.of}"))
        sentences.append(_about_place(side.name, place))
    return data, rows, sentences


def _controlled(side: Preferences, options: AlpacaEvalOptions) -> tuple[LengthControlled, list[str]] | None:
    """Return the win rate at equal length by the best estimator that the files allow, and what is to be said of it."""
    if options.gamed and options.difficulty is None:
        raise UserError("--gamed needs the difficulties of the prompts", "add --difficulty FILE")
    if options.difficulty is None:
        return None
    if "model" not in side.table.columns:
        if options.model is not None:
            return None
        raise UserError(
            f"--difficulty: the preferences of '{side.name}' come without answers, whose lengths length control needs",
            "give an annotations.json, or predict it by its published weights with --lc-weights FILE --model NAME",
        )
    difficulty = read_difficulty(options.difficulty)
    if options.gamed:
        gamed, untold = check_gamed(read_gamed(options.gamed, options.prompts), side)
        return length_controlled(side.table, difficulty, gamed), untold
    lacking, said = "", list[str]()
    if options.weights is not None:
        lacking, said = _held_by(side, options.weights)
        if not lacking:
            found = length_by_held_weights(side.table, difficulty, read_weights(options.weights, side.name))
            return found, said
    return length_adjusted(side.table, difficulty), [f"{side.name}: {lacking}"] if lacking else []


def _held_by(side: Preferences, weights: Path) -> tuple[str, list[str]]:
    """Return why published weights cannot be held for a model, "" where they can, and what is not checked then."""
    if side.name not in models_with_weights(weights):
        return f"'{weights}' has no weights of it to hold", []
    baseline, reference = baseline_of_weights(weights), side.origin.reference
    if baseline is None or reference is None:
        return "", [f"{side.name}: that its reference model is the one of the published weights is not checked"]
    if baseline != reference:
        return f"the published weights are against '{baseline}', its verdicts against '{reference}'", []
    return "", []


def _about_length_control(name: str, found: LengthControlled) -> list[str]:
    reason, caution = why_none(found), CAUTIONS.get(found.estimator)
    said = [f"{name}: {reason}"] if reason else []
    if caution and not reason:
        said.append(f"{name}: {LABELS[found.estimator].partition(',')[0]}: {caution}")
    if drawn := shrunken(found):
        said.append(f"{name}: {drawn}")
    counts = {
        "no verdict": found.n_without_verdict,
        "no difficulty": found.n_without_difficulty,
        "no answer": found.n_without_lengths,
    }
    if any(counts.values()):
        listed = ", ".join(f"{count} with {reason}" for reason, count in counts.items() if count)
        said.append(f"{name}: left out of length control: {listed}")
    if found.separated_resamples:
        said.append(f"{name}: {found.separated_resamples} of {found.resamples} resamples have no estimate")
    return said


def _about_place(name: str, place: Place) -> str:
    between = [
        f"{word} {other[0]} ({other[1]:.2f})"
        for word, other in (("after", place.above), ("before", place.below))
        if other is not None
    ]
    ranks = "" if place.best is None else f"; its interval admits {place.best} to {place.worst}"
    words = f"{name} would be number {place.rank} of {place.of}, {', '.join(between)}{ranks}"
    return f"{words}; {OF_ONE_JUDGE}"


def _table(names: Sequence[str], columns: Sequence[Sequence[tuple[str, str]]]) -> Table:
    labels = list(dict.fromkeys(label for rows in columns for label, _ in rows))
    cells = [dict(rows) for rows in columns]
    return Table(
        "AlpacaEval",
        ["", *names],
        [[label, *(c.get(label, "-") for c in cells)] for label in labels],
    )


def _add_published(found: Report, options: AlpacaEvalOptions) -> None:
    if options.model is None or options.difficulty is None or options.weights is None:
        raise UserError(
            "--lc-weights needs the model's name and the difficulties", "add --model NAME --difficulty FILE"
        )
    weights = read_weights(options.weights, options.model)
    rate = predict_length_controlled(weights, read_difficulty(options.difficulty)["difficulty"])
    found.data["published_length_controlled"] = {"model": options.model, "win_rate": rate, "weights": weights}
    found.sentences.append(f"{options.model}: length-controlled win rate by published weights {rate:.7f} %")


def _add_paired(found: Report, a: Preferences, b: Preferences, options: AlpacaEvalOptions) -> None:
    untold = check_same_origin((a.name, b.name), (a.origin, b.origin))
    left, right = (side.table.select("prompt_id", points=points(side.table["preference"])) for side in (a, b))
    both = left.join(right, on="prompt_id", how="full", coalesce=True, suffix="_b", maintain_order="left_right")
    if left.join(right, on="prompt_id", how="semi").is_empty():
        by_text = "reference" in a.table.columns and "reference" in b.table.columns
        raise UserError(
            f"'{a.name}' and '{b.name}' have no prompt in common",
            "give verdicts on the same instructions"
            if by_text
            else "where one file names prompts by index and the other by instruction, give --prompts FILE.csv with both"
            " (index, instruction_sha16)",
        )
    _check_same_prompts(a, b)
    x, y = (both[name].cast(pl.Float64).to_list() for name in ("points", "points_b"))
    part = describe(
        (a.name, b.name),
        paired_comparison(x, y),
        margins=options.margins,
        effect=options.effect,
        unit=Unit("points", "prompts"),
        discordant=mcnemar(x, y, draw=DRAW_POINTS),
    )
    found.data["paired"] = {**part.data, "not_checked": untold}
    found.tables.append(part.table)
    found.sentences += [*part.sentences, *untold]


def _check_same_prompts(a: Preferences, b: Preferences) -> None:
    """Refuse two files of different prompts, or of different reference answers to the same ones."""
    for one, other in ((a, b), (b, a)):
        lacking = one.table.join(other.table, on="prompt_id", how="anti")
        if lacking.height:
            raise UserError(
                f"'{a.name}' and '{b.name}' were judged on different prompts: '{other.name}' lacks {lacking.height} of"
                f" the {one.table.height} of '{one.name}', such as {lacking['prompt_id'][0]}",
                "give both on the same prompts; a failed verdict is a row whose preference is null",
            )
    if "reference" not in a.table.columns or "reference" not in b.table.columns:
        return
    differ = of_other_references(a.table, b.table)
    if len(differ):
        raise UserError(
            f"'{a.name}' and '{b.name}' were compared with different reference answers on {len(differ)} prompts, such"
            f" as {differ[0]}",
            "give verdicts against the answers of one reference model",
        )
