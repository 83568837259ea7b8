"""comparison.json: what the arms of a study reached, how far they are apart, and how sure that is.

Numbers have twelve significant digits; null stands for what the data cannot tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from notus_exp.contracts.curations_of_arms import ArmCuration, CurationEstimate, CurationsTable
from notus_exp.contracts.format import DamagedFileError, check_kinds, check_shape, read_object
from notus_exp.contracts.measured import MeasuredValue
from notus_exp.contracts.study_file import SearchSummary

FORMAT = 2
"""The version of comparison.json that is written, and the newest that is read."""
_SEALED_SINCE = 2
"""The first version whose files all have a seal; some of version 1 have one."""

LOOKS = "comparisons"
"""Folder of a study with its looks afterwards: one folder each, with the files that the study's own has."""

HIGHER, LOWER, ALIKE, UNKNOWN = "higher", "lower", "not distinguishable", "cannot tell"
"""What can be said of a contrast."""


BASE_MODEL = "base model"
"""Name of the untuned model among the references of contrasts."""


class VarianceComponents(TypedDict):
    """Variances of a value, in the squared unit of the metric; None where prompts or seeds are too few to tell.

    Attributes:
        prompt: Between prompts.
        seed: Between seeds.
        residual: What is left.
    """

    prompt: float | None
    seed: float | None
    residual: float | None


class EstimateRow(MeasuredValue):
    """A mean over prompts and seeds; its interval covers both.

    Attributes:
        prompts: Prompts that it is a mean over; 0 where the metric is known by run only.
        seeds: Seeds likewise.
        left_out: Prompts that lack a value somewhere.
        components: Where its variance is from.
    """

    prompts: int
    seeds: int
    left_out: int
    components: VarianceComponents


class EquivalenceRow(TypedDict):
    """A test of equivalence.

    Attributes:
        margin: Difference that would not matter, in the metric's unit.
        p: Of the two one-sided tests.
        equivalent: Whether the difference is shown to be within the margin.
    """

    margin: float
    p: float | None
    equivalent: bool


class SeedInterval(TypedDict):
    """A 95 % interval over seeds alone, in the metric's unit."""

    low: float
    high: float


class ContrastRow(EstimateRow):
    """One model minus another in one metric, paired by prompt and seed.

    Attributes:
        metric: Which metric.
        primary: Whether it was asked for before the runs; the others are exploratory, as all of a look afterwards are.
        arm: Whose values
        reference: minus whose: an arm's or the `base model`'s.
        standard_error: In the metric's unit.
        seed_share: Share of the seeds in the square of the standard error, 0 to 1; files of before the quantile of both
            parts hold the degrees of freedom instead.
        differing: Prompts on which the two are not the same in every seed; files of before do not hold it.
        p: Alone.
        holm: p by Holm among the contrasts of its family (`family_of`); None where it is of none.
        holm_low: Lower end of the interval at the level of Holm's step: it leaves out 0 where `holm` is below 0.05.
        holm_high: Its upper end.
        benjamini_hochberg: Likewise.
        verdict: `higher`, `lower`, `not distinguishable` or `cannot tell`.
        equivalence: None where no margin was named.
        bootstrap: From 10 seeds on.
        permutation: p over seeds alone, from 6 seeds on.
        cautions: Why its p and intervals may err more often than they say, and which prompts are not in them.
        words: All this in words.
    """

    metric: str
    primary: bool
    arm: str
    reference: str
    standard_error: float | None
    seed_share: float | None
    differing: NotRequired[int]
    p: float | None
    holm: float | None
    holm_low: float | None
    holm_high: float | None
    benjamini_hochberg: float | None
    verdict: str
    equivalence: EquivalenceRow | None
    bootstrap: SeedInterval | None
    permutation: float | None
    cautions: list[str]
    words: str


class EffectRow(MeasuredValue):
    """A main effect or an interaction of a grid, in the primary metric.

    Attributes:
        metric: The primary metric.
        kind: `main` or `interaction`.
        factors: The setting, or both of them.
        levels: Their values
        reference: minus these ones.
        p: Alone; it is exploratory.
        seed_share: As of a contrast.
        prompts: Prompts that it is a mean over.
        seeds: Seeds likewise.
        left_out: Prompts that lack a value somewhere.
    """

    metric: str
    kind: str
    factors: list[str]
    levels: list[str]
    reference: list[str]
    p: float | None
    seed_share: float | None
    prompts: int
    seeds: int
    left_out: int


class StrengthRow(MeasuredValue):
    """The Bradley-Terry strength of an arm, in logits; the baseline's is 0."""

    name: str


class StrengthsTable(TypedDict):
    """Strengths of the arms.

    Attributes:
        metric: The higher value of it wins a game.
        strengths: Empty where they could not be fitted.
        games: How many there were: one a prompt, seed and two arms.
        ties: How many of them were equal.
        note: What a game is, or why there are no strengths.
    """

    metric: str
    strengths: list[StrengthRow]
    games: int
    ties: int
    note: str


class LabellingMatrix(TypedDict):
    """Accuracy of each arm's implicit reward under each labelling, as shares.

    Attributes:
        rows: The arms, which were trained on a labelling.
        columns: The labellings that they are evaluated on.
        cells: A row an arm, in the order of the columns.
    """

    rows: list[str]
    columns: list[str]
    cells: list[list[MeasuredValue]]


class EvaluationWay(TypedDict):
    """All that decides what the values of an evaluation mean; alike in all runs that are compared.

    Attributes:
        settings: The evaluation's own.
        files: Setting -> sha256 of the file that it names.
        answers: Settings by which its prompts are answered.
        judge: Settings of its judge.
        scored: Settings by which the pairs of `preferences` are scored.
        aspects: Aspects that those may be labelled by.
        labellings: Labellings that the data had.
        questions: Settings of the academic benchmarks.
        version: Of the evaluation, where it is not the first.
    """

    settings: dict[str, Any]
    files: dict[str, str]
    answers: NotRequired[dict[str, Any]]
    judge: NotRequired[dict[str, Any]]
    scored: NotRequired[dict[str, Any]]
    aspects: NotRequired[list[str]]
    labellings: NotRequired[list[str] | None]
    questions: NotRequired[dict[str, Any]]
    version: NotRequired[int]


class CommonProtocol(TypedDict):
    """What all runs have in common.

    Attributes:
        feedback: Key of the feedback that they curate and are scored on; None where they differ in it, and where no run
            is finished.
        evaluations: Evaluation -> how it was done.
        judge: The judge's settings, the digests of its `files` and the `snapshots` that it named itself; None where
            nothing was judged.
    """

    feedback: str | None
    evaluations: dict[str, EvaluationWay]
    judge: dict[str, Any] | None


class ComparedStudy(TypedDict):
    """What was compared.

    Attributes:
        name: The study's name.
        kind: `arms`, `grid` or `search`.
        metric: The primary metric.
        baseline: The arm that the others are compared with; None in a search.
        margin: Difference that would not matter, in the metric's unit; None where none was named.
        seeds: Those that the study asked for.
        evaluation_split: Whose prompts were scored: `test` or `validation`; None where that is not known.
        chosen_afterwards: Which of metric, baseline and margin are not those that the study named before its runs.
        after_results: What else came when there were results to look at, a sentence each: the plan itself, arms, seeds;
            not in files of before.
    """

    name: str
    kind: str
    metric: str
    baseline: str | None
    margin: float | None
    seeds: list[int]
    evaluation_split: str | None
    chosen_afterwards: list[str]
    after_results: NotRequired[list[str]]


class ComparedArm(TypedDict):
    """What an arm reached.

    Attributes:
        arm: Its name.
        overrides: As in study.json, as are `levels`, `tuned` and `runs`.
        levels: Setting -> value.
        tuned: Setting -> value.
        seeds: Those of which a run is finished.
        failed: Seed -> why there is no result.
        runs: Seed -> run id.
        metrics: Metric -> mean, in its unit.
    """

    arm: str
    overrides: list[str]
    levels: dict[str, str]
    tuned: dict[str, str]
    seeds: list[int]
    failed: dict[str, str]
    runs: dict[str, str]
    metrics: dict[str, EstimateRow]


class ComparedBase(TypedDict):
    """What the untuned model reached: metric -> mean; empty where the arms start from different ones."""

    metrics: dict[str, EstimateRow]


class ComparisonFile(TypedDict):
    """The file.

    Attributes:
        format: Version of this file.
        study: What was compared.
        protocol: What all runs have in common.
        arms: In the study's order; none of a search.
        base: The untuned model.
        contrasts: Metric by metric, the primary one first.
        effects: Of a grid.
        bradley_terry: None where there are not two arms with results.
        trained_by_evaluated: None where pairs were not scored, or in different ways.
        curations: What the arms train on; None where no seed has the pairs of all arms, and not in files of before.
        search: What a search found; other studies, and files of before, do not have it.
        verdict: What it all shows, a paragraph.
        warnings: What a reader must know.
    """

    format: int
    study: ComparedStudy
    protocol: CommonProtocol
    arms: list[ComparedArm]
    base: ComparedBase
    contrasts: list[ContrastRow]
    effects: list[EffectRow]
    bradley_terry: StrengthsTable | None
    trained_by_evaluated: LabellingMatrix | None
    curations: NotRequired[CurationsTable | None]
    search: NotRequired[SearchSummary]
    verdict: str
    warnings: list[str]


class CurationRow(CurationEstimate):
    """One estimate of an arm's training pairs.

    Attributes:
        arm: Whose pairs.
        reference: The baseline, where it is measured against its pairs.
        measure: What is estimated.
    """

    arm: str
    reference: str | None
    measure: str


def family_of(comparison: ComparisonFile) -> list[ContrastRow]:
    """Return the contrasts that Holm's p corrects together: those of the primary metric with the baseline.

    They are the primary ones, but of a look afterwards, which has none.
    """
    metric, baseline = comparison["study"]["metric"], comparison["study"]["baseline"]
    return [row for row in comparison["contrasts"] if row["metric"] == metric and row["reference"] == baseline]


def curation_rows(comparison: ComparisonFile) -> list[CurationRow]:
    """Return the estimates of `curations` one below the other, those of the first arm first."""
    table, baseline = comparison.get("curations"), comparison["study"].get("baseline")
    return [row for arm in (table["arms"] if table else []) for row in _curation_rows(arm, baseline)]


def _curation_rows(arm: ArmCuration, baseline: str | None) -> Iterator[CurationRow]:
    relative: dict[str, CurationEstimate] = {
        "pairs in common": arm["common"],
        "same side of those": arm["same_side"],
        "same chosen text": arm["same_chosen"],
        "chosen characters": arm["length_difference"],
    }
    own: dict[str, CurationEstimate] = {
        "chosen characters": arm["length"],
        "chosen minus rejected characters": arm["longer"],
        **{f"agreement/{name}": found for name, found in arm["agreement"].items()},
    }
    count: CurationEstimate = {"value": float(arm["pairs"]), "low": None, "high": None, "prompts": arm["prompts"]}
    for reference, estimates in ((None, {"pairs": count, **own}), (baseline, relative)):
        for measure, found in estimates.items():
            yield {
                "arm": arm["arm"],
                "reference": reference,
                "measure": measure,
                "value": found["value"],
                "low": found["low"],
                "high": found["high"],
                "prompts": found["prompts"],
            }


def read_comparison(path: Path) -> ComparisonFile:
    """Return the content of a study's comparison.json.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It cannot be read as a comparison.
        NewerFormatError: It is of a newer version.
    """
    try:
        content = read_object(path, FORMAT, sealed_since=_SEALED_SINCE)
        check_kinds(content, {}, required=("contrasts",))
        check_shape(content, ComparisonFile)
    except ValueError as error:
        raise not_a_comparison(path, error) from error
    return cast(ComparisonFile, content)


def not_a_comparison(path: Path, error: Exception) -> DamagedFileError:
    """Return the error of a comparison.json that cannot be read."""
    study = path.parent
    options = ""
    if study.parent.name == LOOKS:
        study, options = study.parent.parent, f" --name {study.name}, with what was chosen then,"
    return DamagedFileError(
        f"{path} is no comparison of a study: {error!r}", f"python -m notus_exp.compare {study}{options} writes it anew"
    )
