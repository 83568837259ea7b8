"""Whether the settings of curation go together: checked here, once, and relied on by the code that curates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from notus_exp.config.curation_settings import Filters, Keep, PairRule, Rejected, Repair, Selection, Split, TopTies
from notus_exp.config.expression_checks import check_expressions
from notus_exp.config.places import NAMED, place_of
from notus_exp.config.schema import Config
from notus_exp.disk.given import LARGEST
from notus_exp.errors import UserError, did_you_mean

_OF_ALL_DATA = ("critique", "average")
"""Ways to score a completion that are no aspect of the data."""
_BY_RATINGS = ("average", "per_aspect", "weighted")
"""Strategies that score by the ratings."""
ALL_WORSE = "all_worse"
"""As `pairs.per_prompt`: each worse response gives a pair."""
MOST_PAIRS = 1000
_WITH_OWN_SCORE = ("critique", *_BY_RATINGS)
"""Strategies whose score is written already."""


def check_curation(config: Config) -> None:
    """Check the settings that decide the pairs; ranges and options are already checked (`ranges.check`).

    Raises:
        UserError: Naming the keys and the remedy.
    """
    aspects = config.data.aspects
    check_aspects(aspects)
    check_selection(config.selection, aspects)
    check_rejected(config.rejected)
    check_sides(config.selection, config.rejected)
    check_pairs(config.pairs, config.rejected)
    check_repair(config.repair)
    check_filters(config.filters, aspects)
    check_split(config.split)
    check_expressions(config)


def check_aspects(aspects: Sequence[str]) -> None:
    """Check that each aspect is named once, and none is called as another way to score.

    Raises:
        UserError: Naming the aspect.
    """
    twice = sorted({aspect for aspect in aspects if list(aspects).count(aspect) > 1})
    if twice:
        raise UserError(f"data.aspects names '{twice[0]}' twice", "name each aspect once")
    for name in _OF_ALL_DATA:
        if name in aspects:
            raise UserError(
                f"data.aspects has an aspect named '{name}'", f"'{name}' is a strategy's name: rename the column"
            )


def check_selection(selection: Selection, aspects: Sequence[str]) -> None:
    """Check that the data has the ratings that a strategy scores by, and that each setting is read.

    Args:
        selection: The strategy.
        aspects: The aspects that the data rates.

    Raises:
        UserError: Naming the key, its value and the aspects there are.
    """
    name = selection.name
    if name in _BY_RATINGS and not aspects:
        raise UserError(
            f"selection={name} needs aspect ratings, and this data has none (data.aspects=[])",
            "use selection=critique; the rules of study=claims are compared on such data by study=claims_overall",
        )
    if name == "per_aspect" and selection.aspect not in aspects:
        asked = selection.aspect or "null"
        hint = did_you_mean(asked, aspects)
        raise UserError(f"selection.aspect is '{asked}', which the feedback has no rating for", hint)
    if name != "per_aspect" and selection.aspect is not None:
        raise UserError(f"selection.aspect={selection.aspect} is read by selection=per_aspect alone")
    if name in ("random", "reversed") and selection.labels.name != name:
        raise UserError(
            f"selection={name} has selection.labels={selection.labels.name}",
            f"leave it out, or choose the selection whose pairs are meant: selection=average selection.labels="
            f"{selection.labels.name}",
        )
    if name == "expression" and selection.score is None:
        hint = "write selection.score='0.5 * helpfulness + honesty', or choose another selection"
        raise UserError("selection.score must be given for selection=expression", hint)
    if name in _WITH_OWN_SCORE and selection.score is not None:
        raise UserError(
            f"selection.score is given, and selection={name} has a score of its own", "write selection=expression too"
        )
    if name == "weighted":
        _check_weights(selection.weights, aspects)
    elif selection.weights:
        raise UserError(f"selection.weights={selection.weights} is read by selection=weighted alone")


def check_rejected(rejected: Rejected) -> None:
    """Check that a policy for ties is read.

    Raises:
        UserError: It is not, or the place or the score is none that this option takes.
    """
    if rejected.name in NAMED and (rejected.place is not None or rejected.score is not None):
        key, value = ("place", rejected.place) if rejected.place is not None else ("score", rejected.score)
        raise UserError(
            f"rejected.{key}={value} is given, and rejected={rejected.name} is a place of its own",
            f"write rejected=expression rejected.place={rejected.place or rejected.name} too",
        )
    if rejected.name not in NAMED and rejected.place is None:
        raise UserError(f"rejected.place must be given for rejected={rejected.name}", "write rejected.place=lowest")
    place = place_of(rejected.place or rejected.name, "rejected.place")
    if place.kind == "random" and rejected.ties is not TopTies.hash:
        raise UserError(
            f"rejected.ties={rejected.ties.name} does nothing: rejected=random draws among all the worse",
            "use rejected=lowest or second_best, or leave rejected.ties out",
        )
    if place.kind == "random" and rejected.score is not None:
        raise UserError("rejected.score orders nothing where rejected.place=random", "leave it out, or take a place")


def check_sides(selection: Selection, rejected: Rejected) -> None:
    """Check that the place of the chosen leaves something to reject.

    Raises:
        UserError: Nothing can be worse than what is chosen, or a policy for ties is not read.
    """
    place = place_of(selection.place, "selection.place")
    if place.kind == "lowest" and rejected.strictly_worse:
        raise UserError(
            "selection.place=lowest leaves nothing that is worse",
            "write rejected.strictly_worse=false, or another place",
        )
    if place.kind == "random" and selection.ties is not TopTies.hash:
        raise UserError(
            f"selection.ties={selection.ties.name} does nothing where selection.place=random", "leave it out"
        )


def check_pairs(pairs: PairRule, rejected: Rejected) -> None:
    """Check how many pairs a prompt gives.

    Raises:
        UserError: It is no number, or asks for what there cannot be.
    """
    several = pairs.per_prompt != "1"
    if pairs.per_prompt != ALL_WORSE and not (
        pairs.per_prompt.isdecimal() and 1 <= int(pairs.per_prompt) <= MOST_PAIRS
    ):
        raise UserError(
            f"pairs.per_prompt={pairs.per_prompt} is no number of pairs",
            f"write 1, 2, ... {MOST_PAIRS}, or {ALL_WORSE}",
        )
    if several and rejected.ties is TopTies.drop:
        raise UserError(
            f"rejected.ties=drop leaves out one pair's ties, and pairs.per_prompt={pairs.per_prompt}",
            "write rejected.ties=hash or first",
        )


def check_keep(keep: Keep) -> None:
    """Check that a share is kept by something.

    Raises:
        UserError: There is a share and nothing to rank by, or the reverse.
    """
    if keep.by is None and keep.share < 1:
        raise UserError(
            f"filters.keep.share={keep.share:g} is read with filters.keep.by", "write filters.keep.by=margin"
        )
    if keep.by is not None and keep.share == 1:
        raise UserError(f"filters.keep.by='{keep.by}' keeps all", "write filters.keep.share=0.5, or leave it out")


def check_repair(repair: Repair) -> None:
    """Check the order of the thresholds.

    Raises:
        UserError: They are in the wrong order.
    """
    if repair.low_mean > repair.high_mean:
        raise UserError(
            f"repair.low_mean={repair.low_mean} is above repair.high_mean={repair.high_mean}",
            "a score cannot be contradicted and supported at once; lower low_mean or raise high_mean",
        )


def check_filters(filters: Filters, aspects: Sequence[str]) -> None:
    """Check the strategies that filters ask for, and settings that contradict each other.

    Args:
        filters: The rules.
        aspects: The aspects that the data rates.

    Raises:
        UserError: Naming the key, its value and the remedy.
    """
    known = [*_OF_ALL_DATA, *aspects]
    for name in filters.valid_under:
        if name not in known:
            raise UserError(f"filters.valid_under asks for '{name}'", did_you_mean(name, known))
    check_keep(filters.keep)
    contamination = filters.contamination
    if contamination.field is not None and all(Path(name).suffix.lower() == ".txt" for name in contamination.files):
        raise UserError(f"filters.contamination.field={contamination.field} needs a file with fields to look into")
    if filters.max_chars is not None and filters.max_chars < filters.min_chars:
        raise UserError(f"filters.max_chars={filters.max_chars} is below filters.min_chars={filters.min_chars}")


def check_split(split: Split) -> None:
    """Check that something is left to train on.

    Raises:
        UserError: The held-out shares add up to 1 or more.
    """
    if split.validation + split.test >= 1:
        raise UserError(
            f"split.validation={split.validation} and split.test={split.test} leave nothing to train on",
            "their sum must be below 1",
        )
    if (split.folds is None) is not (split.fold is None):
        given, other = ("folds", "fold") if split.fold is None else ("fold", "folds")
        raise UserError(f"split.{given}={getattr(split, given)} needs split.{other}", f"give split.{other} too")
    if split.folds is not None and split.fold is not None and split.fold >= split.folds:
        raise UserError(
            f"split.fold={split.fold} is none of split.folds={split.folds}", f"folds are 0 to {split.folds - 1}"
        )


def _check_weights(weights: dict[str, float], aspects: Sequence[str]) -> None:
    for aspect, weight in weights.items():
        if aspect not in aspects:
            raise UserError(
                f"selection.weights names '{aspect}', which the feedback has no rating for",
                f"{did_you_mean(aspect, aspects)}; ratings: {', '.join(aspects)}; leave the key out with "
                f"'~selection.weights.{aspect}', or give all weights as 'selection.weights={{NAME:NUMBER}}'",
            )
        if not 0 <= weight <= LARGEST:
            raise UserError(
                f"selection.weights.{aspect}={weight} is out of range", f"a weight is a number from 0 to {LARGEST:.0e}"
            )
    if not any(weight > 0 for weight in weights.values()):
        raise UserError("selection.weights has no weight above 0", f"set one of: {', '.join(aspects)}")
