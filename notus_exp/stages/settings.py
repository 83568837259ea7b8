"""What each stage receives: exactly the settings that its key hashes. Fields are JSON or dataclasses of config/."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, Optional, TypeVar, get_args, get_origin, get_type_hints

from notus_exp.config.curation_settings import Filters, PairRule, Rejected, Repair, Selection, Split
from notus_exp.config.evaluation_settings import Evaluation, LMEvalEvaluation, PreferencesEvaluation
from notus_exp.config.ranges import enters_key, left_out_as, unbounded
from notus_exp.config.training_settings import DPO, Model

NO_SPLIT = Split(seed=0, validation=0.0, test=0.0)
"""Stands in the settings of what no split moves."""


ANNOTATED = "annotations_"
"""Begins the names of annotators' nodes, and of the inputs that these are; the annotator's follows."""
REANNOTATED = "reannotated"
"""Names the node that asks about overall scores in doubt, and the input of pairs that it is."""


INSTRUCTIONS = "instructions"
"""Names the node of the prompts of data that is made here."""
WRITTEN = "responses_"
"""Begins the names of writers' nodes, and of the inputs that these are; the writer's follows."""


@dataclass
class ResponsesSettings:
    """Which prompts one writer of `data=made` answers, what it is told, and how it answers.

    `draw` decides which: `writers` (names of all), `per_prompt`, `seed` and `max_prompts`, and of several rounds `part`
    (see `making.drawn`). `principles` are the weights
    of principles by corpus or source of a prompt, `told` the system prompts of each principle. `seed` and `noise` are
    those of the writer's sampling; an endpoint may be sent no seed. `endpoint_model` is the served model's name, null
    where a model of this process answers or, with a `skill`, a simulated one; `world` then holds the settings of the
    prompts.
    """

    writer: str
    draw: dict[str, Any]
    principles: dict[str, dict[str, float]]
    told: dict[str, list[str]]
    seed: Optional[int]
    temperature: Optional[float]
    max_new_tokens: int
    system_prompt: Optional[str]
    template_date: Optional[str]
    precision: str
    noise: int
    endpoint_model: Optional[str] = None
    token_limit_parameter: str = "max_tokens"
    thinking: str = "none"
    skill: Optional[float] = None
    world: Optional[dict[str, Any]] = None


@dataclass
class FeedbackSettings:
    """`data` is the data group as a dict without paths; `data_digest` stands for its files' content or hub commit.

    Of a mix, `source_digests` are those of its sources in their order, and `data_digest` stands for all of them. Of
    data made here `data_digest` stands for what its prompts are read from; its inputs hold everything else.
    """

    data: dict[str, Any]
    data_digest: Optional[str]
    source_digests: list[Optional[str]] = unbounded(since=[], default_factory=list)


@dataclass
class TokenCounting:
    """How responses are templated when their tokens are counted."""

    system_prompt: Optional[str]
    template_date: Optional[str]


@dataclass
class DoubtfulScores:
    """Which overall scores are in doubt; see `curation.repair`."""

    aspects: list[str]
    high_mean: float
    suspicious: Optional[float] = unbounded(since=None, default=None)


@dataclass
class AnnotationsSettings:
    """Who rates all completions, and how; `name` is the column that it gives.

    `judge` holds what moves a verdict, and `files` the digests of what it reads, by setting. With `doubtful` only the
    completions whose overall score is in doubt are asked about, each with its critique.
    """

    name: str
    judge: dict[str, Any]
    files: dict[str, str]
    rubric: Optional[str]
    scale: Optional[list[float]]
    pairs: bool
    together: bool = unbounded(since=False, default=False)
    form: str = unbounded(since="rating", default="rating")
    doubtful: Optional[DoubtfulScores] = unbounded(since=None, default=None)


@dataclass
class ColumnsSettings:
    """Which columns of completions are made, by name, and of what.

    `joined` says of each that comes from a file: `file` (the digest of its content), `column` and `by`; `taken` are
    those that the inputs `tokens` and `reference` give. `probes` says of each that policies of other runs give: `betas`
    of them, what becomes of prompts that none of them may score, and, where they were trained on folds, `folds`: `seed,
    folds, fold` of each. With `counted` the artifact is such an input itself: it has the tokens of each response alone.
    """

    joined: dict[str, dict[str, Any]]
    taken: list[str] = unbounded(since=[], default_factory=list)
    probes: dict[str, dict[str, Any]] = unbounded(since={}, default_factory=dict)
    counted: Optional[TokenCounting] = unbounded(since=None, default=None)


@dataclass
class PairsSettings:
    """Everything curation depends on. `contamination_digests` are the sha256 of the benchmark files' content.

    `columns` are the names that expressions take from the input `columns`. `rules` is the version of the rules where
    these settings reach one that has changed since: identical pairs, n-grams, several pairs at random, duplicates
    in a mix. With `part` the feedback is that of a round: what is held out is trained on in none, not even where
    nothing else is left.
    """

    aspects: list[str]
    repair: Repair
    selection: Selection
    rejected: Rejected
    filters: Filters
    contamination_digests: list[str]
    split: Split
    seed: int
    rules: int = unbounded(since=1, default=1)
    pairs: PairRule = unbounded(since=PairRule(), default_factory=PairRule)
    columns: list[str] = unbounded(since=[], default_factory=list)
    part: bool = unbounded(since=False, default=False)


@dataclass
class BaseModelSettings:
    """`model_digest` stands for the GGUF file, the folder's content or the hub commit; null for random weights.

    With `merged_in` it is a policy of such a model with all of its weights, which are written in that precision.
    """

    model: Model
    model_digest: Optional[str]
    merged_in: Optional[str] = unbounded(since=None, default=None)


@dataclass
class ReferenceSettings:
    """Which completions need a reference log-prob, and how they are tokenised and computed.

    Without `preferences` both sides of the training and validation pairs do; with it all completions of the prompts of
    `scored_split` that it picks, whatever the pairs. With `everything` all completions there are, whatever the split.
    """

    split: Split
    system_prompt: Optional[str]
    precision: str
    max_length: int
    max_prompt_length: Optional[int]
    long_prompts: str
    max_validation_pairs: Optional[int] = None
    preferences: Optional[PreferencesEvaluation] = None
    scored_split: Optional[str] = None
    template_date: Optional[str] = unbounded(since=None, default=None)
    everything: bool = unbounded(since=False, default=False)


@dataclass
class SftSettings:
    """A supervised training: the group `sft` without its place, and how conversations are templated.

    `data_digest` stands for the files of conversations or their commit on the hub; null where the pairs have them.
    """

    sft: dict[str, Any]
    system_prompt: Optional[str]
    data_digest: Optional[str]
    template_date: Optional[str]


@dataclass
class PolicySettings:
    """The training recipe.

    `encoding` is given where the recipe needs no reference: how the pairs are made tokens then, which is otherwise read
    from the reference's artifact.
    """

    dpo: DPO
    seed: int
    system_prompt: Optional[str]
    template_date: Optional[str] = unbounded(since=None, default=None)
    encoding: Optional[ReferenceSettings] = unbounded(since=None, default=None)


@dataclass
class EngineSettings:
    """The server that a run starts, as far as it moves answers: its command without machine and port, and requests.

    `asked` is the name under which the model is asked for: a server that has several answers by it.
    """

    command: str
    adapter: Optional[str]
    version: Optional[str]
    body: dict[str, Any]
    asked: str


@dataclass
class GenerationsSettings:
    """Which prompts are answered, and how.

    `chosen` holds what chooses the evaluation's prompts (of constraint prompts their number and split; for those that
    come in a file its digest, the most to take, and keys left out). `temperatures` go by category, `temperature` is
    the rest's.
    `noise` is the version of the noise by which this process draws tokens; of greedy answers it is the first.
    `endpoint_model` is the served model's name, null where the model answers in this run; what follows it says how an
    endpoint is asked: null for a temperature or seed that is not sent. `engine` is given where the run starts the
    server itself, which then serves `base` or `policy`.
    """

    evaluation: str
    chosen: dict[str, Any]
    seed: int
    max_new_tokens: int
    temperature: float
    temperatures: dict[str, float]
    system_prompt: Optional[str]
    precision: str
    endpoint_model: Optional[str]
    template_date: Optional[str] = unbounded(since=None, default=None)
    token_limit_parameter: str = unbounded(since="max_tokens", default="max_tokens")
    sent_temperature: Optional[str] = unbounded(since="evaluation", default="evaluation")
    sent_seed: Optional[str] = unbounded(since="evaluation", default="evaluation")
    thinking: str = unbounded(since="none", default="none")
    engine: Optional[EngineSettings] = unbounded(since=None, default=None)
    noise: int = unbounded(since=1, default=1)


@dataclass
class JudgmentsSettings:
    """Which answers are judged, by whom and how. `judge` holds what moves a verdict; `files` are digests by setting."""

    evaluation: str
    judge: dict[str, Any]
    files: dict[str, str]


@dataclass
class BenchmarksSettings:
    """The academic benchmarks; `include_digest` stands for the task files of one's own."""

    lm_eval: LMEvalEvaluation
    include_digest: Optional[str]
    system_prompt: Optional[str]
    precision: str
    template_date: Optional[str] = unbounded(since=None, default=None)


@dataclass
class LikelihoodsSettings:
    """How the policy's log-probs of scored completions, and the divergence on its own answers, are computed."""

    precision: str
    kl_prompts: int


@dataclass(kw_only=True)
class EvaluationSettings(Evaluation):
    """What the metrics depend on: the chosen evaluations, each with its settings, and what they share.

    `aspects` are the labellings beside the average and the critique. Null is an evaluation that was not chosen. `files`
    are digests of what evaluations read, by setting; `max_failure_rate` is the share of failed verdicts above which
    no score is reported, `judge` the judge's name in files and tables. `versions` are those of the chosen evaluations,
    where they are not the first.
    """

    aspects: list[str]
    beta: float
    files: dict[str, str]
    max_failure_rate: float
    judge: str
    model: str
    versions: dict[str, int] = unbounded(since={}, default_factory=dict)


T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return a dataclass as plain JSON: enum members by name."""
    return _plain(value, lambda spec, owner: True)


def keyed(value: Any) -> Any:
    """Return what of a dataclass enters a key, as plain JSON: `to_json` without the fields that are marked to stay out.

    Dataclasses within it leave theirs out too; see `ranges.unbounded` for the marks.
    """
    return _plain(value, enters_key)


def _plain(value: Any, wanted: Callable[[Field[Any], Any], bool]) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {spec.name: _plain(getattr(value, spec.name), wanted) for spec in fields(value) if wanted(spec, value)}
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, dict):
        return {str(key): _plain(item, wanted) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, wanted) for item in value]
    return value


def from_json(kind: type[T], content: dict[str, Any]) -> T:
    """Return the dataclass that `to_json` or `keyed` turned into `content`.

    A setting left out becomes what its mark `since` says, else null, or an empty list.
    """
    hints = get_type_hints(kind)
    return kind(**{spec.name: _value(spec, hints[spec.name], content) for spec in fields(kind)})  # type: ignore[arg-type]


def _value(spec: Field[Any], hint: Any, content: dict[str, Any]) -> Any:
    left_out = left_out_as(spec) if spec.name not in content else None
    return left_out if left_out is not None else _revive(hint, content.get(spec.name))


def _revive(hint: Any, value: Any) -> Any:
    inner = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    if value is None:
        return [] if get_origin(hint) is list else None
    for kind in inner:
        if is_dataclass(kind) and isinstance(value, dict):
            return from_json(kind, value)
        if is_dataclass(kind) and isinstance(value, list):
            return [from_json(kind, item) for item in value]
        if issubclass(kind, Enum):
            return [kind[item] for item in value] if isinstance(value, list) else kind[value]
    return value
