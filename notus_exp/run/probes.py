"""Runs whose policies score completions: what of them a plan reads, found and looked at before anything is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.expression_checks import named_columns
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import ScoreItem, column_of, runs_of_probe
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.run_file import RunFile, read_run_file
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST, PAIRS, RUN_JSON
from notus_exp.errors import UserError, did_you_mean
from notus_exp.stages.settings import PolicySettings, from_json

READ = (Stage.base_model, Stage.pairs)
"""Inputs of a policy that a probe reads too."""


class Probe(NamedTuple):
    """A policy that scores completions.

    Attributes:
        run: Id of its run.
        policy: Key of the policy's artifact.
        base_model: Key of the artifact of its base model.
        pairs: Key of the artifact of the pairs that it was trained on.
        feedback: Key of the feedback that these were made of.
        training: What it was trained with: its beta, and how its texts are templated, cut and computed.
    """

    run: str
    policy: str
    base_model: str
    pairs: str
    feedback: str
    training: PolicySettings


def find_probes(config: Config) -> dict[str, list[Probe]]:
    """Return the policies of the probes whose columns expressions name, by column, in the order of their keys.

    Raises:
        UserError: A run is not there, or has no policy that is whole and finished.
    """
    named = named_columns(config)
    output = Path(config.output_dir).absolute()
    return {
        column_of(score): sorted((_found(run, output) for run in runs), key=lambda probe: probe.policy)
        for score in config.scores
        if (runs := runs_of_probe(score)) and column_of(score) in named
    }


def check_training_prompts(score: ScoreItem, probes: Sequence[Probe], feedback: str, artifacts: Path) -> None:
    """Refuse a probe all of whose runs were trained on some of the prompts that it is to score.

    As soon as these prompts are known: those of the very feedback that the runs were trained on always are, others when
    their artifact is there. Then nothing is computed in vain.

    Args:
        score: The item of `scores`.
        probes: Its policies.
        feedback: Key of the feedback that they are to score.
        artifacts: Folder of all artifacts.

    Raises:
        UserError: Naming the runs, the number of prompts and what helps.
    """
    store = ArtifactStore(artifacts)
    there = store.told(Stage.feedback.name, feedback) is not None
    same = all(probe.feedback == feedback for probe in probes)
    if score.in_sample or score.exclude or not (there or same):
        return
    from notus_exp.scoring import probe_scores  # Polars: not for every plan

    pairs = [store.path(Stage.pairs.name, probe.pairs) / PAIRS for probe in probes]
    if there:
        seen = probe_scores.seen_by_all(probe_scores.read_prompts(store.path(Stage.feedback.name, feedback)), pairs)
    else:
        seen = len(set.intersection(*map(probe_scores.trained_on, pairs)))
    if seen:
        raise UserError(*probe_scores.trained_on_words(column_of(score), seen, [probe.run for probe in probes]))


def check_contents(probes: Sequence[Probe], artifacts: Path) -> None:
    """Compare the contents of what a run is going to read of probes with what was written.

    Raises:
        UserError: Something is damaged.
    """
    store = ArtifactStore(artifacts)
    for probe in probes:
        for stage, key in (
            (Stage.policy, probe.policy),
            (Stage.base_model, probe.base_model),
            (Stage.pairs, probe.pairs),
        ):
            folder = store.path(stage.name, key)
            damage = store.check_files(folder.name, read_manifest(folder / MANIFEST)).damage
            if damage:
                raise _again(probe.run, damage)


def _found(run: str, output: Path) -> Probe:
    record = _record(run, output)
    made = record.get("stages", {}).get(Stage.policy.name)
    if made is None:
        raise _again(run, f"it has no policy (its status is {record['status']})")
    key = made["key"]
    store = ArtifactStore(output / "artifacts")
    policy = _whole(run, Stage.policy, key, store)
    inputs = {stage: _whole(run, stage, policy.inputs[stage.name], store) for stage in READ}
    return Probe(
        run,
        key,
        inputs[Stage.base_model].key,
        inputs[Stage.pairs].key,
        inputs[Stage.pairs].inputs[Stage.feedback.name],
        from_json(PolicySettings, policy.settings),
    )


def _record(run: str, output: Path) -> RunFile:
    path = output / "runs" / run / RUN_JSON
    try:
        return read_run_file(path)
    except FileNotFoundError:
        known = sorted(one.parent.name for one in (output / "runs").glob(f"*/{RUN_JSON}"))
        hint = did_you_mean(run, known) if known else f"there is none in {output / 'runs'}: give that run's output_dir"
        raise UserError(f"scores: there is no run '{run}' in {output}", hint) from None


def _whole(run: str, stage: Stage, key: str, store: ArtifactStore) -> Manifest:
    folder = store.path(stage.name, key)
    try:
        manifest = read_manifest(folder / MANIFEST)
    except (FileNotFoundError, DamagedFileError):
        raise _again(run, f"its {stage.name} is not there or damaged: {folder}") from None
    if damage := store.look(manifest).damage:
        raise _again(run, damage)
    return manifest


def _again(run: str, reason: str) -> UserError:
    return UserError(
        f"scores: run {run} cannot be a probe: {reason}", "give that run's command again, with until=policy at least"
    )
