"""curation.json: how the pairs of a run were made, what each rule took, and what they are like."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from notus_exp.contracts.annotator_file import AnnotatorFile, Leaning
from notus_exp.contracts.format import DamagedFileError, check_shape, read_object
from notus_exp.contracts.measured import MeasuredValue

FORMAT = 1
"""The version of curation.json that is written, and the newest that is read."""


class CurationCounts(TypedDict):
    """Counts that add up: every prompt and completion is either in a pair or charged to exactly one rule.

    Attributes:
        prompts_in: Prompts of the feedback.
        pairs_out: Pairs that were made.
        prompts_dropped: Rule -> prompts that it took.
        completions_in: Completions of the feedback.
        completions_in_pairs: Completions that are in a pair.
        completions_not_taken: Completions left over in a prompt that gave a pair.
        completions_dropped: Rule -> completions that it took; `prompt_dropped` are those of a prompt without a pair.
        ties_top: Pairs, and prompts dropped, in which a tie policy decided which completion is chosen.
        ties_rejected: Likewise, which one is rejected.
        rejected_replaced: Pairs whose rejected response would have had the chosen one's text: another took its place.
        repair: What became of the overall scores of 10.
        split: Split -> pairs in it.
        moved_to_train: Prompts that are in train only because otherwise none would be.
        missing_values: Setting -> cause -> completions or pairs that its expression gave no value; where one is given.
        prompts_out: Prompts with a pair; where a prompt may give several.
        pairs_dropped: Rule -> pairs that it took of prompts that keep another; where a prompt may give several.
    """

    prompts_in: int
    pairs_out: int
    prompts_dropped: dict[str, int]
    completions_in: int
    completions_in_pairs: int
    completions_not_taken: int
    completions_dropped: dict[str, int]
    ties_top: int
    ties_rejected: int
    rejected_replaced: int
    repair: dict[str, int]
    split: dict[str, int]
    moved_to_train: int
    missing_values: NotRequired[dict[str, dict[str, int]]]
    prompts_out: NotRequired[int]
    pairs_dropped: NotRequired[dict[str, int]]


class ModelShare(TypedDict):
    """How many responses of the pairs a model wrote.

    Attributes:
        name: The model, "" where unknown.
        chosen: Chosen responses of its own.
        rejected: Rejected ones.
        chosen_share: Of all pairs.
        rejected_share: Of all pairs.
    """

    name: str
    chosen: int
    rejected: int
    chosen_share: float
    rejected_share: float


class SourceShare(TypedDict):
    """How many pairs are from a source.

    Attributes:
        name: The source, "" where unknown.
        pairs: Pairs from it.
        share: Of all pairs.
    """

    name: str
    pairs: int
    share: float


class PairLengths(TypedDict):
    """Lengths of the responses, in characters, each as mean, standard deviation and quantiles by name.

    Attributes:
        chosen: Of the chosen ones.
        rejected: Of the rejected ones.
        chosen_minus_rejected: Of the differences.
        chosen_longer: Share of pairs whose chosen response is the longer one.
    """

    chosen: dict[str, float]
    rejected: dict[str, float]
    chosen_minus_rejected: dict[str, float]
    chosen_longer: float


class StrategyAgreement(TypedDict):
    """How often strategies choose the same text.

    Attributes:
        strategies: Their names.
        own: The run's own.
        prompts: Prompts that they are compared on.
        sampled: Whether these are a sample of all.
        same_chosen: A row and a column a strategy: share of the prompts of which both make a pair; None where there is
            none.
        common_prompts: Of how many prompts both do.
    """

    strategies: list[str]
    own: str
    prompts: int
    sampled: bool
    same_chosen: list[list[float | None]]
    common_prompts: list[list[int]]


class TruthShare(MeasuredValue):
    """A share with its Wilson interval; all None where `n` is 0.

    Attributes:
        n: Prompts of which the strategy makes a pair.
    """

    n: int


class StrategyTruth(TypedDict):
    """How often a strategy's choice is right where the true quality is known.

    Attributes:
        best: The chosen response is the truly best one.
        better: It is truly better than the rejected one.
    """

    best: TruthShare
    better: TruthShare


class AnnotatorFound(TypedDict):
    """What is known of one annotator.

    Attributes:
        told: What its own artifact says: verdicts, failures, leanings, costs.
        agrees_with_gold: Share of the comparisons of two completions that the truth decides in which the same one wins
            by the annotator's column, a tie being a half; None where no truth is known.
        usd_per_pair: What its verdicts cost, for each pair that was kept; None without prices.
    """

    told: AnnotatorFile
    agrees_with_gold: Leaning | None
    usd_per_pair: float | None


class AnnotatorsFound(TypedDict):
    """What annotators say, beside the labellings of the data.

    Attributes:
        annotators: Each of them, by name.
        labellings: Names of what is compared: the annotators, the labellings of the data, and `gold`, the truth, where
            it is known.
        own: Which of them are annotators.
        alpha: A row and a column each: Krippendorff's alpha, interval metric, of their ranks within prompts; None where
            it is not defined.
        common_prompts: Over how many prompts.
    """

    annotators: list[AnnotatorFound]
    labellings: list[str]
    own: list[str]
    alpha: list[list[float | None]]
    common_prompts: list[list[int]]


class WeightsFound(TypedDict):
    """How unevenly the training pairs weigh in the loss.

    Attributes:
        training_pairs: Their number.
        effective: How many pairs of one weight would count alike, (sum w)^2 / sum w^2 (Kish 1965, "Survey Sampling").
        largest: The largest weight; their mean is 1.
    """

    training_pairs: int
    effective: float
    largest: float


class CurationFile(TypedDict):
    """The file; numbers have six decimals.

    Attributes:
        format: Version of this file.
        settings: Those of the stage.
        reading: What became of the records when the feedback was read: `records`, `bad_rows`, of each rule that took
            any `quarantined/RULE` (records) and `stripped/RULE`, `emptied/RULE` or `kept/RULE` (responses), and of
            scored pairs `contradicting_scores` and `tied_scores`; where there are any `common_beginnings` (prompts) and
            `answers_passed_over`. Of a mix also `prompts_in_several`, and of each
            source `corpus_records/NAME`, `corpus_bad_rows/NAME`, `corpus_prompts_read/NAME`, `corpus_prompts/NAME` and
            `corpus_completions/NAME` (those in the mix), and `corpus_pairs/NAME`.
        counts: What each rule took.
        models: The most chosen first.
        sources: The largest first.
        margins: Chosen minus rejected score, in score points: mean, standard deviation and quantiles by name.
        lengths: Of the responses.
        agreement: Of the strategies that the feedback admits.
        truth: Strategy -> how often it is right; empty where the true quality is not known.
        notes: Sentences that a reader of the pairs must know.
        annotators: What they said, where there are any.
        weights: Of the training pairs, where `pairs.weight` is set.
    """

    format: int
    settings: dict[str, Any]
    reading: dict[str, int]
    counts: CurationCounts
    models: list[ModelShare]
    sources: list[SourceShare]
    margins: dict[str, float]
    lengths: PairLengths
    agreement: StrategyAgreement
    truth: dict[str, StrategyTruth]
    notes: list[str]
    annotators: NotRequired[AnnotatorsFound]
    weights: NotRequired[WeightsFound]


def read_curation(path: Path) -> CurationFile:
    """Return the content of a curation.json.

    Raises:
        FileNotFoundError: There is none.
        DamagedFileError: It cannot be read.
        NewerFormatError: It is of a newer version.
    """
    try:
        content = read_object(path, FORMAT)
        check_shape(content, CurationFile)
    except ValueError as error:
        raise DamagedFileError(f"{path} cannot be read: {error}", f"delete {path.parent} and run again") from error
    content.setdefault("notes", [])  # files from before there were any
    return cast(CurationFile, content)
