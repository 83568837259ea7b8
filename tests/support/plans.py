"""Plans without anything on the disk: sources whose digests are words."""

from __future__ import annotations

from notus_exp.config.data_settings import FileData
from notus_exp.config.schema import Config
from notus_exp.config.score_settings import column_of, runs_of_probe
from notus_exp.evaluation.catalogue import chosen, judged
from notus_exp.run.nodes import Sources
from notus_exp.run.probes import Probe
from notus_exp.stages.settings import PolicySettings


def fixed_sources(config: Config) -> Sources:
    """Return sources whose digests are words: what a run reads does not matter here."""
    files = {
        f"{spec.name}.{setting}": f"{spec.name}-{setting}"
        for spec in chosen(config.evaluation)
        for setting in spec.files
        if getattr(getattr(config.evaluation, spec.name), setting) is not None
    }
    if judged(config.evaluation):
        files |= {
            f"judge.{name}": f"judge-{name}" for name in ("template", "path") if getattr(config.judge, name, None)
        }
        files |= {"judge.model": "judge-model"} if config.judge.name == "reward_model" else {}
    return Sources(
        "data-digest" if isinstance(config.data, FileData) else None,
        ["contamination"] * len(config.filters.contamination.files),
        None if config.model.kind == "tiny_random" else "model-digest",
        files,
        {},
        {column_of(score): "scores" for score in config.scores if score.path is not None},
        {
            column_of(score): [_probe(run, config) for run in runs_of_probe(score)]
            for score in config.scores
            if runs_of_probe(score)
        },
        annotator_digests={annotator.name: {"model": "annotators-model"} for annotator in config.annotators},
    )


def _probe(run: str, config: Config) -> Probe:
    training = PolicySettings(config.dpo, 0, config.model.system_prompt)
    return Probe(run, f"policy-{run}", "base_model", f"pairs-{run}", "feedback", training)
