"""Published findings on curation, each as a config that is checked as `until=config` checks it, or what is missing."""

from __future__ import annotations

import pytest

from notus_exp.config.loading import sweeps_dir
from support.configs import composed

RATED = ("data=ultrafeedback", "data.path=ultrafeedback.parquet")
"""UltraFeedback's own columns; a file that is named is opened by the run alone."""

FINDINGS: dict[str, list[tuple[str, ...]]] = {
    "1 an overall 10 that was a 1": [("repair=openbmb", *RATED), ("curation=zephyr_repaired",)],
    "2 mean of the ratings instead of the critique": [("curation=notus",), ("curation=zephyr",)],
    "3 TruthfulQA leaks into its benchmark": [("filters.exclude_sources=[truthful_qa]", *RATED)],
    "6 only the quality of the chosen matters; DPO is close to SFT on chosen": [("curation=sft_on_chosen",)],
    "7 only the difference matters, both may be weak": [
        (
            "selection=expression",
            "selection.score=\"CASE WHEN model = 'sim-fair' THEN 2 WHEN model = 'sim-weak' THEN 1 END\"",
        )
    ],
}
"""Finding, as its number and words in the list of findings -> each config that says it or what it is compared with."""

MISSING = {
    "4 the best against every worse response": "several pairs a prompt",
    "5 rejected at mean minus two standard deviations": "a place by distribution",
    "8 moderate margin, high absolute score, low spread": "conditions on pairs",
    "9 drop prompts with poor or short rejected, or a wide gap": "conditions on pairs",
    "10 largest external plus implicit margin, a tenth of the data": "scores of a probe run, shares",
    "11 smallest implicit gap, a tenth of the data": "scores of a probe run, shares",
    "12 easiest pairs by the loss of a probe model": "scores of a probe run, shares",
    "13 remove what several judges dispute": "conditions on pairs",
    "14 aspects in conflict: train on the consensus": "conditions on pairs",
    "15 pairs chosen by upper and lower confidence": "a score of its own for what is rejected",
    "16 a mix of corpora by task and quality": "several sources",
    "17 on-policy answers help some models and hurt others": "feedback made of a model's own answers",
    "18 chosen is longer: length bias": "conditions on pairs",
    "19 reward-model relabelling": "joined scores",
}
"""Finding -> what a config cannot say yet."""


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_a_config(finding: str) -> None:
    for overrides in FINDINGS[finding]:
        composed(*overrides)


def test_every_finding_is_said_or_what_is_missing_is_named() -> None:
    numbers = sorted(int(finding.split()[0]) for finding in (*FINDINGS, *MISSING))
    assert numbers == [*range(1, 20)]


@pytest.mark.parametrize("name", ["claims", "data_efficiency"])
def test_a_study_of_rules_names_one_metric_that_no_labelling_favours_before_it_is_run(name: str) -> None:
    assert (sweeps_dir() / "study" / f"{name}.yaml").is_file()
    study = composed(f"study={name}").study
    assert (study.metric, study.margin, study.seeds) == ("verifiable/strict", 0.05, [0, 1, 2])


def test_every_arm_of_the_claims_is_checked_and_has_as_many_pairs() -> None:
    arms = composed("study=claims").study.arms
    assert next(iter(arms)) == "notus"
    for arm, overrides in arms.items():
        config = composed("study=claims", *overrides)
        assert f"curation={arm}" in overrides
        assert config.filters.max_pairs == 320
