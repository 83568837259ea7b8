"""Runs whose policies score completions: what of them a plan reads, found and looked at before anything is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from notus_exp.config.curation_settings import Split
from notus_exp.config.expression_checks import named_columns
from notus_exp.config.schema import Config, Stage
from notus_exp.config.score_settings import ScoreItem, column_of, runs_of_probe
from notus_exp.contracts.format import DamagedFileError
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.contracts.rounds_of_run import number_of_rounds
from notus_exp.contracts.run_file import RunFile, read_run_file
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST, PAIRS, RUN_JSON
from notus_exp.errors import UserError, did_you_mean
from notus_exp.stages.settings import PolicySettings, from_json

BASES = (Stage.base_model, Stage.sft)
"""Stages whose model a policy may be trained from: one of them made its input `base_model`."""


class Probe(NamedTuple):
    """A policy that scores completions.

    Attributes:
        run: Id of its run.
        policy: Key of the policy's artifact.
        base_model: Key of the artifact of the model that it was trained from.
        pairs: Key of the artifact of the pairs that it was trained on.
        feedback: Key of the feedback that these were made of.
        training: What it was trained with: its beta, and how its texts are templated, cut and computed.
        split: That of its prompts where it was trained on one fold of them, else None.
        base: The stage that made the model that it was trained from.
    """

    run: str
    policy: str
    base_model: str
    pairs: str
    feedback: str
    training: PolicySettings
    split: Split | None = None
    base: Stage = Stage.base_model


def find_probes(config: Config) -> dict[str, list[Probe]]:
    """Return the policies of the probes whose columns expressions name, by column, in the order of their keys.

    Raises:
        UserError: A run is not there, or has no policy that is whole and finished; runs of folds that do not go
            together.
    """
    named = named_columns(config)
    output = Path(config.output_dir).absolute()
    found = {
        column_of(score): sorted((_found(run, output) for run in runs), key=lambda probe: probe.policy)
        for score in config.scores
        if (runs := runs_of_probe(score)) and column_of(score) in named
    }
    for column, probes in found.items():
        check_folds(column, {probe.run: probe.split for probe in probes})
    return found


def check_folds(column: str, splits: Mapping[str, Split | None]) -> None:
    """Refuse runs of folds that would not score every prompt by equally many of them.

    The mean of two rewards spreads less than one reward: a threshold, or the most extreme share, would take prompts by
    how many runs scored them.

    Args:
        column: The column's name, for messages.
        splits: The split of each run that was trained on a fold, and None of one that was not, by the run's id.

    Raises:
        UserError: They are of different splits, or some folds have more runs than others.
    """
    partitions = {(split.folds, split.seed) if split else None for split in splits.values()}
    if partitions == {None}:
        return
    if len(partitions) > 1:
        told = "; ".join(f"{run} of {_fold_told(split)}" for run, split in sorted(splits.items()))
        raise UserError(
            f"scores: {column}: its runs were not trained on folds of one split: {told}",
            "name runs of the same split.folds and split.seed, equally many of each fold, or one run alone",
        )
    ((folds, _),) = (partition for partition in partitions if partition)
    runs = Counter(split.fold for split in splits.values() if split)
    scoring = {len(splits) - runs[fold] for fold in range(folds or 0)} - {0}
    if len(scoring) > 1:
        of = ", ".join(f"{runs[fold]} of fold {fold}" for fold in range(folds or 0))
        raise UserError(
            f"scores: {column}: some prompts would be scored by {min(scoring)} of its runs and others by "
            f"{max(scoring)}, whose mean spreads less: of split.folds={folds} it has runs {of}",
            "name equally many runs of each fold, or one run alone",
        )


def _fold_told(split: Split | None) -> str:
    return f"split.folds={split.folds}, split.seed={split.seed}" if split else "no fold"


def check_training_prompts(score: ScoreItem, probes: Sequence[Probe], feedback: str, artifacts: Path) -> None:
    """Refuse a probe none of whose runs may score some of the prompts: each was trained on them, or on their fold.

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
    splits = [probe.split for probe in probes]
    if there:
        prompts = probe_scores.read_prompts(store.path(Stage.feedback.name, feedback))
        hidden, least = probe_scores.hidden_from_all(prompts, pairs, splits), ""
    elif any(splits):  # of more than one fold none is hidden from all
        trained = [probe_scores.trained_on(path) for path in pairs]
        hidden = len(set.union(*trained)) if len({split.fold for split in splits if split}) == 1 else 0
        least = "at least "
    else:
        hidden, least = len(set.intersection(*map(probe_scores.trained_on, pairs))), ""
    if hidden:
        runs = [probe.run for probe in probes]
        words = probe_scores.trained_on_words(column_of(score), f"{least}{hidden}", runs, of_fold=any(splits))
        raise UserError(*words)


def check_contents(probes: Sequence[Probe], artifacts: Path) -> None:
    """Compare the contents of what a run is going to read of probes with what was written.

    Raises:
        UserError: Something is damaged.
    """
    store = ArtifactStore(artifacts)
    for probe in probes:
        for stage, key in (
            (Stage.policy, probe.policy),
            (probe.base, probe.base_model),
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
    if (rounds := number_of_rounds(record)) > 1:
        raise UserError(
            f"scores: run {run} was trained in {rounds} rounds, and the pairs of its last do not tell on which prompts",
            "name a run of one round",
        )
    key = made["key"]
    store = ArtifactStore(output / "artifacts")
    policy = _whole(run, Stage.policy, key, store)
    pairs = _whole(run, Stage.pairs, policy.inputs["pairs"], store)
    base = base_stage(policy.inputs["base_model"], store)
    _whole(run, base, policy.inputs["base_model"], store)
    split = from_json(Split, pairs.settings["split"])
    return Probe(
        run,
        key,
        policy.inputs["base_model"],
        pairs.key,
        pairs.inputs["feedback"],
        from_json(PolicySettings, policy.settings),
        split if split.fold is not None else None,
        base,
    )


def base_stage(key: str, store: ArtifactStore) -> Stage:
    """Return which stage made the model of this key that a policy was trained from; the first where none is there."""
    return next((stage for stage in BASES if store.path(stage.name, key).exists()), BASES[0])


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
