"""What a run reads from outside its config: data, benchmark prompts and weights, each as digest and local files."""

from __future__ import annotations

import re
from pathlib import Path

from notus_exp.config.annotator_checks import needed_annotators
from notus_exp.config.annotator_items import told_of_annotator
from notus_exp.config.annotator_settings import CRITIQUES, RUBRIC_FILE, Annotator
from notus_exp.config.data_settings import Data, FileData, Mix
from notus_exp.config.expression_checks import named_columns, reads_base_model
from notus_exp.config.judge_settings import ChatJudge, RewardModelJudge
from notus_exp.config.made_items import named_writer
from notus_exp.config.made_settings import annotators_of, prompts_of, writers_of
from notus_exp.config.mix_sources import PROMPTS, parts, told_of
from notus_exp.config.ranges import files_of
from notus_exp.config.schema import Config, Stage, reaches
from notus_exp.config.score_settings import KEYS, SCORE_COLUMN
from notus_exp.config.sft_checks import file_data, told_of_sft
from notus_exp.config.sft_settings import ChatSft
from notus_exp.config.told_as import told_as
from notus_exp.disk.hashing import digest, file_digest
from notus_exp.disk.hub import hub_commit
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import chosen, entrance, judged
from notus_exp.evaluation.hub_files import content_digest, locate
from notus_exp.feedback import data_files as feedback_sources
from notus_exp.models import model_files as model_sources
from notus_exp.run.made_nodes import reads_run_model
from notus_exp.run.nodes import Sources
from notus_exp.run.probes import find_probes

UNRESOLVED = "unresolved"
"""Stands for a hub's commit in a plan that is only shown (`until=config`), where the hub cannot be reached."""
_OF_MODEL = re.compile(r"\bmodel\.(?=[a-z_]+\b)")


def resolve(config: Config) -> Sources:
    """Look up every digest that the run needs; with `until=config` an unreachable hub is no error.

    Raises:
        UserError: For a missing file, an uninstalled wheel or a hub that cannot be reached.
    """
    only_shown = config.until is Stage.config
    with told_of(PROMPTS if prompts_of(config.data) is not config.data else "data"):
        data_digest, source_digests, data_files = _data(prompts_of(config.data), only_shown)
    benchmarks = config.filters.contamination.files
    for name in benchmarks:
        if not Path(name).is_file():
            raise UserError(f"filters.contamination.files: {name} is not a file")
    model_digest, model_files = None, list[str]()
    if reaches(config.until, Stage.base_model) or reads_base_model(config) or reads_run_model(config):
        try:
            model_digest, model_files = model_sources.model_sources(config.model)
        except UserError:
            if not (only_shown and config.model.kind == "hub"):
                raise
            model_digest = UNRESOLVED
    evaluation_digests, evaluation_files = _evaluation_files(config, only_shown)
    score_digests, score_ways, score_files = _score_files(config, only_shown)
    annotator_digests, annotator_files = _annotator_files(config, only_shown)
    sft_digest, sft_files = _conversations(config, only_shown)
    writer_digests, writer_files = _writer_models(config, only_shown)
    return Sources(
        data_digest,
        [digest([Path(name).suffix.lower(), file_digest(Path(name))]) for name in benchmarks],
        model_digest,
        evaluation_digests,
        {
            **{**data_files, "contamination": benchmarks, "model": model_files},
            **{**evaluation_files, **score_files, **annotator_files, **sft_files, **writer_files},
        },
        score_digests,
        find_probes(config),
        source_digests,
        annotator_digests,
        score_ways,
        sft_digest,
        writer_digests,
    )


def _writer_models(config: Config, only_shown: bool) -> tuple[dict[str, str | None], dict[str, list[str]]]:
    """Return what stands for the models of writers that have one of their own, by writer, and where they lie."""
    digests, found = dict[str, str | None](), dict[str, list[str]]()
    for number, writer in enumerate(writers_of(config.data).values()):
        if writer.base is None:
            continue
        try:
            with told_as(f"{named_writer(number)}.model", _OF_MODEL):
                digest_, files = model_sources.model_sources(writer.base)
        except UserError:
            if not (only_shown and writer.base.kind == "hub"):
                raise
            digests[writer.name] = UNRESOLVED
            continue
        digests[writer.name] = digest_
        if digest_ is not None:
            found[model_sources.files_named(digest_)] = files
    return digests, found


def _score_files(
    config: Config, only_shown: bool
) -> tuple[dict[str, str], dict[str, str | None], dict[str, list[str]]]:
    """Return digest, way and path of each file of scores whose column an expression names, after a look at it."""
    named = named_columns(config)
    digests, ways, found = dict[str, str](), dict[str, str | None](), dict[str, list[str]]()
    for score in config.scores:
        if score.name is None or score.name not in named or score.path is None:
            continue
        key = f"scores.{score.name}"
        try:
            path = locate(score.path, key)
        except UserError:
            if not (only_shown and score.path.startswith("hf://")):
                raise
            digests[score.name], found[key] = UNRESOLVED, []
            continue
        from notus_exp.scoring.score_files import check_score_file, chosen_way  # Polars: not for every plan

        by = check_score_file(path, score.column or SCORE_COLUMN, score.by, key)
        if isinstance(config.data, Mix) and by == KEYS["row"] and score.by is None:
            raise UserError(
                f"{key}: '{score.path}' says by row whose its scores are, and data=mix numbers the rows of all its "
                "sources in one",
                "name them by digest or by their texts; add by: row to the item where the numbers are those of the mix",
            )
        digests[score.name], found[key] = content_digest(path), [str(path)]
        ways[score.name] = chosen_way(path, score.by, key)
    return digests, ways, found


def _data(data: Data, only_shown: bool) -> tuple[str | None, list[str | None], dict[str, list[str]]]:
    """Return what stands for the data, and for each source of a mix, and the files of each by its name in a context."""
    if not isinstance(data, Mix):
        digest_, files = _part(data, only_shown)
        return digest_, [], {"data": files}
    digests, found = list[str | None](), dict[str, list[str]]()
    for key, source in zip(parts(data), data.sources, strict=True):
        with told_of(key):
            digest_, found[f"data/{source.corpus}"] = _part(source.data, only_shown)
        digests.append(digest_)
    return UNRESOLVED if UNRESOLVED in digests else digest(digests), digests, found


def _part(data: Data, only_shown: bool) -> tuple[str | None, list[str]]:
    try:
        return feedback_sources.sources(data)
    except UserError:
        if not (only_shown and isinstance(data, FileData) and not data.path):
            raise
        return UNRESOLVED, []


def _conversations(config: Config, only_shown: bool) -> tuple[str | None, dict[str, list[str]]]:
    """Return what stands for the conversations of a supervised training, and their files, where it reads any."""
    if not isinstance(config.sft, ChatSft) or not reaches(config.until, Stage.sft):
        return None, {}
    with told_of_sft():
        digest_, found = _part(file_data(config.sft), only_shown)
    return digest_, {"sft": found}


def _annotator_files(config: Config, only_shown: bool) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Return the digests by annotator and setting, and the paths, of what annotators read, after a look at it."""
    digests, found = dict[str, dict[str, str]](), dict[str, list[str]]()
    for one in [*needed_annotators(config), *annotators_of(config.data)]:
        own = digests.setdefault(one.name, {})
        with told_of_annotator(one.key):
            if isinstance(one.judge, RewardModelJudge):
                own["model"] = _reward_model(one.judge, only_shown)
            files = files_of(one.judge) | ({RUBRIC_FILE: one.rubric_file} if one.rubric_file else {})
            for setting, place in files.items():
                key = f"annotators.{one.name}.{setting}"
                try:
                    path = locate(place, f"judge.{setting}")
                except UserError:
                    if not (only_shown and place.startswith("hf://")):
                        raise
                    own[setting], found[key] = UNRESOLVED, []
                    continue
                own[setting], found[key] = content_digest(path), [str(path)]
                if setting == RUBRIC_FILE:
                    _check_rubric(one, path)
                else:
                    _check_annotators_file(one, path)
    return digests, found


def _check_rubric(annotator: Annotator, path: Path) -> None:
    """Read a user's rubric as it will be read, so that a malformed one is told at once."""
    from notus_exp.judging import rubrics, templates  # Jinja2: not for every plan

    if annotator.in_json:
        found = rubrics.rubric_of(str(path))
        if annotator.form == CRITIQUES and (found.types or found.not_applicable):
            only = "types" if found.types else "not_applicable"
            raise UserError(f"judge.rubric={path}: {only} is read with together: true", f"leave {only} out")
    else:
        templates.load_rubric_template(str(path), None, annotator.ends)


def _check_annotators_file(annotator: Annotator, path: Path) -> None:
    """Read what an annotator will read, a template or stored verdicts, so that a malformed file is told at once."""
    if isinstance(annotator.judge, ChatJudge):
        from notus_exp.judging import templates  # Jinja2: not for every plan

        if annotator.pairs:
            templates.load_comparison_template(annotator.judge.parser, path)
        else:
            templates.load_rubric_template(None, path, annotator.ends)
    else:
        from notus_exp.annotation.stored import read_stored  # Polars: not for every plan

        read_stored(path, annotator.pairs)


def _evaluation_files(config: Config, only_shown: bool) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Return digest and path by setting, of the files that the chosen evaluations and their judge read."""
    places: dict[str, tuple[str, str]] = {}
    if reaches(config.until, Stage.generations):
        for spec in chosen(config.evaluation):
            for setting in spec.files:
                place = getattr(getattr(config.evaluation, spec.name), setting)
                if place is not None:
                    places[f"{spec.name}.{setting}"] = (f"evaluation.{spec.name}.{setting}", place)
        if judged(config.evaluation):
            places |= {f"judge.{name}": (f"judge.{name}", place) for name, place in files_of(config.judge).items()}
    folders = {f"{spec.name}.{setting}" for spec in chosen(config.evaluation) for setting in spec.folders}
    digests, found = dict[str, str](), dict[str, list[str]]()
    if places and judged(config.evaluation) and isinstance(config.judge, RewardModelJudge):
        digests["judge.model"] = _reward_model(config.judge, only_shown)
    for name, (key, place) in places.items():
        if name in folders:
            digests[name], found[name] = _folder(key, place)
            continue
        try:
            path = locate(place, key)
        except UserError:
            if not (only_shown and place.startswith("hf://")):
                raise
            digests[name], found[name] = UNRESOLVED, []
            continue
        digests[name], found[name] = content_digest(path), [str(path)]
    _check_files(config, {name: Path(paths[0]) for name, paths in found.items() if paths})
    return digests, found


def _check_files(config: Config, files: dict[str, Path]) -> None:
    """Read what evaluations and judge will read, so that a malformed file is told before anything runs.

    Raises:
        UserError: Naming the file, the record and what is wrong.
    """
    for spec in chosen(config.evaluation):
        own = {setting: files[f"{spec.name}.{setting}"] for setting in spec.files if f"{spec.name}.{setting}" in files}
        if own:
            entrance(spec.name).check_files(own)
    if isinstance(config.judge, ChatJudge) and "judge.template" in files:
        from notus_exp.judging.templates import load_comparison_template  # Jinja2: not for every plan

        load_comparison_template(config.judge.parser, files["judge.template"])


def _reward_model(judge: RewardModelJudge, only_shown: bool) -> str:
    """Return what stands for a reward model in keys: the digest of its folder, or its commit on the hub."""
    folder = Path(judge.model).expanduser()
    if folder.is_dir():
        try:
            return model_sources.folder_digest(folder)
        except UserError as error:  # which speaks of the model that is trained
            raise UserError(error.message.replace("model.path=", "judge.model=", 1), error.hint) from error
    if judge.model.startswith(("/", ".", "~")):
        raise UserError(
            f"judge.model={judge.model}: there is no such folder", "check the path, or name ORG/NAME on the hub"
        )
    commit = hub_commit(judge.model, judge.revision, "model")
    if commit is None and not only_shown:
        raise UserError(
            f"judge.model={judge.model} is no folder, and the hub cannot be reached",
            "go online, or give a local folder",
        )
    return commit or UNRESOLVED


def _folder(key: str, place: str) -> tuple[str, list[str]]:
    folder = Path(place).expanduser().absolute()
    if not folder.is_dir():
        raise UserError(f"{key}: there is no folder '{place}'")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return digest({name: file_digest(folder / name) for name in names}), [str(folder)]
