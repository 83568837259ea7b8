"""The nodes of curation: annotators, the columns of completions that expressions name, and the pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from notus_exp.config.annotator_checks import asked_annotators, reannotator
from notus_exp.config.annotator_settings import RUBRIC_FILE, Annotator
from notus_exp.config.column_names import REFERENCE, TOKENS
from notus_exp.config.curation_checks import ALL_WORSE
from notus_exp.config.curation_settings import Filters, PairRule, Rejected
from notus_exp.config.data_settings import Mix
from notus_exp.config.expression_checks import joined_columns, named_columns
from notus_exp.config.made_settings import prompts_of
from notus_exp.config.places import place_of
from notus_exp.config.precisions import working_precision
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import SCORE_COLUMN, column_of, runs_of_probe
from notus_exp.config.spelling import spelled_curation
from notus_exp.run.nodes import Made, NodeRow, Sources
from notus_exp.run.probes import Probe
from notus_exp.run.training_nodes import encoded, encoding
from notus_exp.stages.settings import (
    ANNOTATED,
    NO_SPLIT,
    REANNOTATED,
    AnnotationsSettings,
    ColumnsSettings,
    DoubtfulScores,
    LikelihoodsSettings,
    PairsSettings,
    TokenCounting,
    keyed,
)


def curation_nodes(config: Config, sources: Sources) -> list[NodeRow]:
    """Return the annotators that are asked, what makes the columns that expressions name, and the pairs."""
    annotators, columns = _annotations(config, sources), _columns(config, sources)
    uses: dict[str, str | Made] = {"feedback": "feedback"}
    uses |= {row[0]: row[0] for row in annotators} | ({"columns": "columns"} if columns else {})
    return [*annotators, *columns, ("pairs", Stage.pairs, _pairs_settings(config, sources), uses)]


def _annotations(config: Config, sources: Sources) -> list[NodeRow]:
    """Return the annotators that are asked, and who is asked about scores in doubt; see `annotator_checks`."""
    rows: list[NodeRow] = [
        (
            f"{ANNOTATED}{one.name}",
            Stage.annotations,
            annotation_settings(one, sources.annotator_digests[one.name]),
            {"feedback": "feedback"},
        )
        for one in asked_annotators(config)
    ]
    again = reannotator(config)
    if again is not None:
        doubtful = DoubtfulScores(config.data.aspects, config.repair.high_mean, config.repair.suspicious)
        settings = replace(annotation_settings(again, sources.annotator_digests[again.name]), doubtful=doubtful)
        rows.append((REANNOTATED, Stage.annotations, settings, {"feedback": "feedback"}))
    return rows


def annotation_settings(one: Annotator, files: dict[str, str]) -> AnnotationsSettings:
    """Return the settings of an annotator's stage; `files` are the digests of what it reads, by setting."""
    return AnnotationsSettings(
        one.name,
        keyed(one.judge),
        files,
        RUBRIC_FILE if one.rubric_file else one.rubric,
        one.scale,
        one.pairs,
        one.together,
        one.form,
    )


def _columns(config: Config, sources: Sources) -> list[NodeRow]:
    """Return what makes the columns of completions that expressions name; nothing where they name none of them."""
    named = {*named_columns(config)}
    scored = {column_of(score): score for score in sorted(config.scores, key=column_of)}
    joined = {
        column: {
            "file": sources.score_digests[column],
            "column": score.column or SCORE_COLUMN,
            "by": sources.score_ways.get(column, score.by),
        }
        for column, score in scored.items()
        if column in named and not runs_of_probe(score)
    }
    taken = [name for name in (TOKENS, *REFERENCE) if name in named]
    uses: dict[str, str | Made] = {"feedback": "feedback"}
    model: dict[str, str | Made] = {"feedback": "feedback", "base_model": "base_model"}
    makers: list[NodeRow] = []
    if TOKENS in named:
        counting = TokenCounting(config.model.system_prompt, config.model.template_date)
        makers.append(("columns_tokens", Stage.columns, ColumnsSettings({}, counted=counting), model))
        uses |= {"tokens": "columns_tokens"}
    if named & {*REFERENCE}:
        everything = replace(encoding(config), split=NO_SPLIT, everything=True)
        makers.append(("reference_columns", Stage.reference, everything, model))
        uses |= {"reference": "reference_columns"}
    probes: dict[str, dict[str, Any]] = {}
    for column, score in scored.items():
        for number, probe in enumerate(sources.probes.get(column, ())):
            made = probes.setdefault(column, {"betas": [], "exclude": score.exclude, "in_sample": score.in_sample})
            made["betas"].append(probe.training.dpo.beta)
            if probe.split:
                own = {"seed": probe.split.seed, "folds": probe.split.folds, "fold": probe.split.fold}
                made.setdefault("folds", []).append(own)
            makers += _of_probe(f"{column}_{number}", probe)
            uses |= {f"likelihoods_{column}_{number}": f"likelihoods_{column}_{number}"}
            uses |= {f"pairs_{column}_{number}": Made(Stage.pairs, probe.pairs)}
    if not joined and not taken and not probes:
        return []
    return [("columns", Stage.columns, ColumnsSettings(joined, taken, probes=probes), uses), *makers]


def _of_probe(name: str, probe: Probe) -> list[NodeRow]:
    """Return what scores all completions by the policy of another run, as that run templates and computes them."""
    training = probe.training
    encoding = encoded(training.dpo, training.system_prompt, training.template_date, NO_SPLIT)
    base: dict[str, str | Made] = {"base_model": Made(probe.base, probe.base_model)}
    uses = {**base, "policy": Made(Stage.policy, probe.policy), "reference_scored": f"reference_{name}"}
    return [
        (f"reference_{name}", Stage.reference, replace(encoding, everything=True), {**base, "feedback": "feedback"}),
        (f"likelihoods_{name}", Stage.likelihoods, LikelihoodsSettings(working_precision(training.dpo), 0), uses),
    ]


def _pairs_settings(config: Config, sources: Sources) -> PairsSettings:
    selection, rejected, filters, pairs = spelled_curation(
        config.selection, config.rejected, config.filters, config.pairs
    )
    return PairsSettings(
        aspects=config.data.aspects,
        repair=config.repair,
        selection=selection,
        rejected=rejected,
        filters=filters,
        contamination_digests=sources.contamination_digests,
        split=config.split,
        seed=config.seed,
        pairs=pairs,
        columns=joined_columns(config),
        rules=_rules_version(
            rejected, filters, pairs, bool(sources.contamination_digests), isinstance(prompts_of(config.data), Mix)
        ),
    )


def _rules_version(rejected: Rejected, filters: Filters, pairs: PairRule, contamination: bool, mixed: bool) -> int:
    """Return the version of the newest of the changed rules of curation that these settings reach; 1 for none.

    4: no name of a corpus has a say in which of the same prompts of a mix stays. 3: several pairs at random, but not
    all, begin with the one pair of `pairs.per_prompt=1`. 2: identical pairs, and the n-grams of benchmark prompts.
    """
    if mixed and filters.duplicate_prompts:
        return 4
    some = pairs.per_prompt not in ("1", ALL_WORSE)
    if some and place_of(rejected.place or rejected.name, "rejected.place").kind == "random":
        return 3
    identical = filters.identical_pairs and not filters.duplicate_responses  # else no prompt has a text twice
    return 2 if identical or contamination else 1
