"""Published findings on curation, each as a config that is checked as `until=config` checks it, or what is missing."""

from __future__ import annotations

import pytest

from notus_exp.config.loading import sweeps_dir
from support.configs import composed

RATED = ("data=ultrafeedback", "data.path=ultrafeedback.parquet")
"""UltraFeedback's own columns; a file that is named is opened by the run alone."""
ARMO = "scores=[{path: armorm.parquet, name: armorm}]"
JUDGES = "annotators=[{name: rated, judge: mock, rubric: honesty}, {name: duel, judge: mock, pairs: true}]"
BOUND = "MEAN_OF(helpfulness, honesty, instruction_following, truthfulness)"
PROBE = "scores=[{runs: [a, b]}]"
SPREAD = "STDDEV_OF(helpfulness, honesty, instruction_following, truthfulness)"
WEAK = "CASE WHEN model = 'sim-fair' THEN 2 WHEN model = 'sim-weak' THEN 1 END"

FINDINGS: dict[str, list[tuple[str, ...]]] = {
    "1 an overall 10 that was a 1": [("repair=openbmb", *RATED), ("curation=zephyr_repaired",)],
    "2 mean of the ratings instead of the critique": [("curation=notus",), ("curation=zephyr",)],
    "3 TruthfulQA leaks into its benchmark": [("filters.exclude_sources=[truthful_qa]", *RATED)],
    "4 the best against every worse response": [("curation=all_worse",), ("pairs.per_prompt=2",)],
    "5 rejected at mean minus two standard deviations": [("curation=mean_minus_two_sigma",), ("curation=max_min",)],
    "6 only the quality of the chosen matters; DPO is close to SFT on chosen": [
        ("curation=sft_on_chosen",),
        ("selection.place=median", "rejected=lowest"),
    ],
    "7 only the difference matters, both may be weak": [("selection=expression", f'selection.score="{WEAK}"')],
    "8 moderate margin, high absolute score, low spread": [("curation=moderate_margin",)],
    "9 drop prompts with poor or short rejected, or a wide gap": [("curation=rejected_floor",)],
    "10 largest external plus implicit margin, a tenth of the data": [
        ("curation=largest_margin", PROBE, "filters.keep.by='margin + probe_margin'"),
    ],
    "11 smallest implicit gap, a tenth of the data": [
        ("curation=smallest_margin", PROBE, "filters.keep.by='ABS(probe_margin)'"),
    ],
    "12 easiest pairs by the loss of a probe model; quality is a property of the model": [("curation=easiest", PROBE)],
    "13 remove what several judges dispute; turning labels round is worse": [
        ("filters.where='agreement >= 0.75'",),
        (ARMO, "filters.where='chosen_armorm > rejected_armorm'"),
        (JUDGES, "filters.where='chosen_rated > rejected_rated AND chosen_duel > rejected_duel'"),
        ("curation=reversed_labels",),
    ],
    "14 aspects in conflict: train on the consensus": [("curation=consensus",)],
    "15 pairs chosen by upper and lower confidence": [
        (
            "selection=expression",
            f"selection.score='{BOUND} + {SPREAD}'",
            "rejected=expression",
            f"rejected.score='{BOUND} - {SPREAD}'",
        )
    ],
    "16 a mix of corpora by task and quality": [
        (
            "data=mix",
            "data.sources=[{data: ultrafeedback, path: u.parquet, weight: 2}, {data: rated, path: r.csv, weight: 1}]",
            "filters.where=\"chosen_corpus = 'ultrafeedback' OR margin >= 1\"",
        ),
    ],
    "18 chosen is longer: length bias": [
        ("curation=shorter_chosen",),
        ("filters.where='chosen_words <= 1.5 * rejected_words'",),
        ("pairs.weight='1 / chosen_chars'",),
        ("filters.where='chosen_tokens <= 1.5 * rejected_tokens'", "dpo.ld_alpha=0.5"),
    ],
    "19 reward-model relabelling": [
        (ARMO, "selection=expression", "selection.score=armorm"),
        ("annotators=[{name: own, reward_model: m}]", "selection=expression", "selection.score=own"),
        (
            "scores=[{path: a.parquet, name: armorm}, {path: s.parquet, name: skywork}]",
            "selection=expression",
            "selection.score='(armorm - AVG(armorm)) / STDDEV(armorm) + (skywork - AVG(skywork)) / STDDEV(skywork)'",
        ),
    ],
}
"""Finding, as its number and words in the list of findings -> each config that says it or what it is compared with."""

MISSING = {
    "17 on-policy answers help some models and hurt others": "a model's own answers as feedback, made within a run",
}
"""Finding -> what a config cannot say yet."""


@pytest.mark.parametrize("finding", FINDINGS)
def test_a_finding_is_a_config(finding: str) -> None:
    for overrides in FINDINGS[finding]:
        composed(*overrides)


def test_every_finding_is_said_or_what_is_missing_is_named() -> None:
    numbers = sorted(int(finding.split()[0]) for finding in (*FINDINGS, *MISSING))
    assert numbers == [*range(1, 20)]


@pytest.mark.parametrize("name", ["claims", "claims_probed", "data_efficiency"])
def test_a_study_of_rules_names_one_metric_that_no_labelling_favours_before_it_is_run(name: str) -> None:
    assert (sweeps_dir() / "study" / f"{name}.yaml").is_file()
    study = composed(f"study={name}").study
    assert (study.metric, study.margin, study.seeds) == ("verifiable/strict", 0.05, [0, 1, 2])


def test_every_arm_of_the_claims_is_a_rule_and_has_as_many_pairs() -> None:
    arms = composed("study=claims_probed", PROBE).study.arms
    assert next(iter(arms)) == "notus" and [*arms][:-1] == [*composed("study=claims").study.arms]
    for arm, overrides in arms.items():
        assert overrides[0] == f"curation={arm}", "which is composed by itself elsewhere"
        config = composed("study=claims_probed", PROBE, *overrides) if overrides[1:] else None
        assert config is None or (config.filters.max_pairs, config.filters.keep.share) == (320, 0.25)
