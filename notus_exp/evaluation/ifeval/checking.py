"""IFEval: which of the instructions that a program can check does an answer follow?

The checkers are those of the package if-verifiable. `strict` looks at the answer as it is, `loose` also without its
first or last line and without asterisks (Zhou et al. 2023, arXiv:2311.07911). A reasoning block in <think> tags is not
part of the answer. An empty answer follows nothing, and an instruction that the package does not know is an error: by
itself the package would leave both out of the count.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.disk.hashing import prompt_id
from notus_exp.errors import UserError, did_you_mean
from notus_exp.evaluation.kit.published_files import read_objects, require
from notus_exp.inference.estimates import Estimate, mean_estimate, paired_difference, share_estimate

MODES = ("strict", "loose")

_SCHEMA: dict[str, Any] = {
    "prompt_id": pl.String,
    "key": pl.Int64,
    "instructions": pl.List(pl.String),
    "strict": pl.List(pl.Boolean),
    "loose": pl.List(pl.Boolean),
    "empty": pl.Boolean,
}


class IFEvalPrompt(NamedTuple):
    """A prompt of IFEval.

    Attributes:
        key: Its number in the benchmark.
        text: The user's message.
        instructions: Ids such as "punctuation:no_comma".
        arguments: Of each instruction, by name; None is not given.
    """

    key: int
    text: str
    instructions: tuple[str, ...]
    arguments: tuple[dict[str, Any], ...]


class Followed(NamedTuple):
    """How many of a number of prompts or instructions are followed."""

    followed: int
    n: int


def read_prompts(path: Path) -> list[IFEvalPrompt]:
    """Read prompts as IFEval publishes them.

    Raises:
        UserError: The file cannot be read, a key is missing or of the wrong type, or a prompt occurs twice.
    """
    rows = read_objects(path, ["key", "prompt", "instruction_id_list", "kwargs"], "prompts")
    prompts = []
    for number, row in enumerate(rows, start=1):
        place = f"prompts: '{path}' record {number}"
        require(row, "key", "integer", place)
        require(row, "prompt", "text", place)
        ids, arguments = row["instruction_id_list"], row["kwargs"]
        if not (_list_of(str, ids) and _list_of(dict, arguments) and len(ids) == len(arguments)):
            raise UserError(
                f"{place} is no prompt of IFEval",
                "instruction_id_list is a list of texts, kwargs one of as many objects, their arguments",
            )
        prompts.append(IFEvalPrompt(row["key"], row["prompt"], tuple(ids), tuple(arguments)))
    _refuse_twice([prompt.text for prompt in prompts], path, "prompts")
    return prompts


def read_responses(path: Path) -> dict[str, str]:
    """Read `prompt, response` objects; return the responses by the prompt's id.

    Raises:
        UserError: The file cannot be read, a key is missing or holds no text, or a prompt is answered twice.
    """
    rows = read_objects(path, ["prompt", "response"], "responses")
    for number, row in enumerate(rows, start=1):
        for key in ("prompt", "response"):
            require(row, key, "text", f"responses: '{path}' record {number}")
    _refuse_twice([row["prompt"] for row in rows], path, "responses")
    return {prompt_id(row["prompt"]): row["response"] for row in rows}


def without(prompts: Sequence[IFEvalPrompt], keys: Collection[int]) -> list[IFEvalPrompt]:
    """Return the prompts but for some keys; 1122 and 1129 ask for a letter that the checker draws at random.

    Raises:
        UserError: No prompt has a key.
    """
    known = {prompt.key for prompt in prompts}
    for key in keys:
        if key not in known:
            raise UserError(f"exclude: no prompt has the key {key}", did_you_mean(str(key), map(str, known)))
    return [prompt for prompt in prompts if prompt.key not in keys]


def measure(
    prompts: Sequence[IFEvalPrompt], responses: Mapping[str, str], *, nltk_data: Path | None = None
) -> pl.DataFrame:
    """Check each answer. Equal answers get equal verdicts: language detection is seeded, and so are drawn arguments.

    Args:
        prompts: The prompts.
        responses: Answers by prompt id.
        nltk_data: Folder with nltk's tables, beside the places that nltk searches.

    Returns:
        One row a prompt in the order given: `prompt_id, key, instructions`, `strict` and `loose` (lists of Boolean, one
        an instruction; null where there is no answer) and `empty` (null likewise).

    Raises:
        UserError: An instruction is unknown or has arguments that it does not take, or nltk's tables are missing.
    """
    from if_verifiable.ifeval.instructions_registry import INSTRUCTION_DICT  # imports `datasets`: two seconds

    for prompt in prompts:
        for name in prompt.instructions:
            if name not in INSTRUCTION_DICT:
                raise UserError(
                    f"prompt {prompt.key}: unknown instruction '{name}'", did_you_mean(name, INSTRUCTION_DICT)
                )
    with _seeded(), _tables(nltk_data):
        rows = [_check(prompt, responses.get(prompt_id(prompt.text)), INSTRUCTION_DICT) for prompt in prompts]
    return pl.DataFrame(rows, schema=_SCHEMA, orient="row")


def counts(measured: pl.DataFrame) -> dict[str, Followed]:
    """Return `prompt_strict, prompt_loose, inst_strict, inst_loose` and, of each kind, `kind/<id>/strict` and `/loose`.

    A prompt is followed where all of its instructions are. Prompts without an answer do not count.

    Args:
        measured: From `measure`.
    """
    flat = _instructions(measured)
    answered = measured.drop_nulls("empty")
    found = {
        **{f"prompt_{mode}": _count(answered[mode].list.all()) for mode in MODES},
        **{f"inst_{mode}": _count(flat[mode]) for mode in MODES},
    }
    for kind in flat["instructions"].unique().sort():
        rows = flat.filter(pl.col("instructions") == kind)
        found |= {f"kind/{kind}/{mode}": _count(rows[mode]) for mode in MODES}
    return found


def estimates(policy: pl.DataFrame, base: pl.DataFrame | None = None) -> dict[str, Estimate]:
    """Return the shares that `counts` counts, each as `ifeval/<name>`.

    Prompts have Wilson intervals; instructions t intervals clustered by prompt, whose instructions share an answer.

    Args:
        policy: From `measure`.
        base: The same of the base model, or None.

    Returns:
        The policy's; with a base the same after `base/`, and policy minus base after `difference/` for the four overall
        shares, over the prompts that both answered.
    """
    found: dict[str, Estimate] = {}
    for prefix, side in (("", policy), ("base/", base)):
        if side is not None:
            found |= {f"{prefix}ifeval/{name}": value for name, value in _shares(side).items()}
    if base is None:
        return found
    both = policy.drop_nulls("empty").join(base.drop_nulls("empty"), on="prompt_id", suffix="_base", validate="1:1")
    for mode in MODES:
        prompts = (both[name].list.all().cast(pl.Float64).to_numpy() for name in (mode, f"{mode}_base"))
        found[f"difference/ifeval/prompt_{mode}"] = paired_difference(*prompts, span=(-1, 1))
        flat = both.select("prompt_id", mode, f"{mode}_base").explode(mode, f"{mode}_base")
        sides = (flat[name].cast(pl.Float64).to_numpy() for name in (mode, f"{mode}_base"))
        difference = paired_difference(*sides, clusters=flat["prompt_id"].to_list(), span=(-1, 1))
        found[f"difference/ifeval/inst_{mode}"] = difference
    return found


def left_out(measured: pl.DataFrame) -> dict[str, int]:
    """Count the prompts, those without an answer (left out), and the empty answers (which follow nothing)."""
    return {
        "prompts": measured.height,
        "prompts_without_answer": measured["empty"].null_count(),
        "empty_answers": int(measured["empty"].sum()),
    }


def _check(prompt: IFEvalPrompt, response: str | None, registry: dict[str, Any]) -> tuple[Any, ...]:
    from if_verifiable.common import evaluate_instructions

    random.seed(prompt.key)  # by prompt, so that its draw does not change when other prompts come or go
    head = (prompt_id(prompt.text), prompt.key, list(prompt.instructions))
    if response is None:
        return (*head, None, None, None)
    try:
        results, _ = evaluate_instructions(
            response, list(prompt.instructions), list(prompt.arguments), prompt.text, registry
        )
    except (TypeError, ValueError) as problem:
        names = ", ".join(prompt.instructions)
        raise UserError(
            f"prompt {prompt.key} ({names}) cannot be checked: {problem}", "mend its kwargs, or exclude its key"
        ) from problem
    if not results:
        nothing = [False] * len(prompt.instructions)
        return (*head, nothing, nothing, True)
    return (*head, [result.strict_pass for result in results], [result.loose_pass for result in results], False)


@contextmanager
def _seeded() -> Iterator[None]:
    """Make the checkers repeatable (langdetect samples) and give the program back the random state it had."""
    from langdetect import DetectorFactory

    before = random.getstate()
    DetectorFactory.seed = 0
    try:
        yield
    finally:
        random.setstate(before)


@contextmanager
def _tables(folder: Path | None) -> Iterator[None]:
    """Let nltk find its tables in a folder too, and say what to do where they are missing."""
    import nltk

    before = list(nltk.data.path)
    if folder is not None:
        nltk.data.path.insert(0, str(folder))
    try:
        yield
    except LookupError as problem:
        raise UserError(
            "IFEval's sentence checkers need nltk's tables 'punkt_tab', which are in none of the places searched",
            "run `python -m nltk.downloader punkt_tab` where there is a network, or set NLTK_DATA to a folder that has"
            " tokenizers/punkt_tab in it",
        ) from problem
    finally:
        nltk.data.path[:] = before


def _instructions(measured: pl.DataFrame) -> pl.DataFrame:
    """Return one row an instruction of the answered prompts."""
    answered = measured.drop_nulls("empty").select("prompt_id", "instructions", *MODES)
    return answered.explode("instructions", *MODES).drop_nulls("instructions")


def _count(followed: pl.Series) -> Followed:
    return Followed(int(followed.sum()), followed.len())


def _shares(measured: pl.DataFrame) -> dict[str, Estimate]:
    flat = _instructions(measured)
    found = {}
    for name, counted in counts(measured).items():
        if name.startswith("prompt_"):
            found[name] = share_estimate(*counted)
            continue
        kind, mode = name.removeprefix("kind/").rsplit("/", 1) if "/" in name else ("", name.removeprefix("inst_"))
        rows = flat.filter(pl.col("instructions") == kind) if kind else flat
        values = rows[mode].cast(pl.Float64).to_numpy()
        found[name] = mean_estimate(values, clusters=rows["prompt_id"].to_list(), span=(0, 1))
    return found


def _list_of(kind: type, value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, kind) for item in value)


def _refuse_twice(prompts: list[str], path: Path, what: str) -> None:
    if len(set(prompts)) < len(prompts):
        twice = next(text for number, text in enumerate(prompts) if text in prompts[:number])
        raise UserError(f"{what}: '{path}' holds a prompt twice: {twice[:60]!r}", "keep one of them")
