"""Scores of completions in files of others: parquet, JSON lines or CSV, joined to the completions table.

A file has one row a completion, its score in a column, and says whose it is in one of four ways:

    row, completion         numbers of the raw record in its source and of the completion in it, as in
                            completions.parquet and pairs.parquet
    prompt_id, completion   likewise, by the prompt's id; where several rows have that prompt nobody can say whose it is
    digest                  `completion_digest` of the texts
    prompt, response        the texts themselves; of prompts of one turn

Other columns of these are compared with what is joined by numbers (contradictions.py), and further ones are not read. A
score that is null, NaN or infinite is missing; one beyond `given.LARGEST` is refused.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from notus_exp.config.score_settings import KEYS
from notus_exp.disk import given
from notus_exp.errors import UserError, did_you_mean, first_line
from notus_exp.feedback.prompt_turns import CONTEXT

ENDINGS = (".parquet", ".jsonl", ".jsonl.gz", ".csv", ".csv.gz")
"""Endings of the names of files that hold scores."""
NUMBERS = ("row", "completion")
"""Columns that say whose a score is by whole numbers; the others do by text."""
SHOWN = 60
"""Characters of a key that are shown."""
SCORE, PLACE, ROW = "_score", "_place", "_row"
_STRONGEST = ("digest", "texts", "prompt_id", "row")
"""Of `KEYS`, first those that go wherever a completion goes."""


class JoinedScores(NamedTuple):
    """A column of scores for the completions table, and counts.

    Attributes:
        values: Float64 of shape (completions,), null where there is no score.
        counts: Of completions: with_score, without_score; of the file's rows: matched, unmatched (that fit no
            completion), double (that another row had said already), missing (without a usable score); and
            unclear (completions whose prompt id and number another one has). Where there are any, several_turns:
            completions that texts cannot name, since their prompt has several turns.
    """

    values: pl.Series
    counts: dict[str, int]


def completion_digest(turns: Sequence[str], response: str) -> str:
    """Return the digest that stands for a prompt and a response in files of scores.

    The sha256 (hex) of the JSON list of the texts, without spaces and with non-ASCII characters escaped:

        hashlib.sha256(json.dumps([prompt, response], separators=(",", ":")).encode()).hexdigest()

    Args:
        turns: Texts of the prompt: that of the user's message; of several turns each of them in order, without a
            system turn.
        response: Text of the completion.
    """
    return hashlib.sha256(json.dumps([*turns, response], separators=(",", ":")).encode()).hexdigest()


def read_scores(path: Path, column: str, by: str | None, key: str) -> pl.DataFrame:
    """Return the rows of a file of scores.

    Args:
        path: The file.
        column: The column with the scores.
        by: One of `KEYS`, or None where the file's columns tell.
        key: What names the file in the config, for messages.

    Returns:
        The columns that say whose a score is (of `KEYS`), and SCORE (Float64; null where it is missing).

    Raises:
        UserError: The file cannot be read, has not the columns, or a column does not hold what it should.
    """
    wanted = check_score_file(path, column, by, key)
    table = _whole(path, key, [*wanted, column])
    keys = _keys(table.select(wanted), path, key)
    return keys.with_columns(_score(table[column], path, key))


def read_keys(path: Path, names: Sequence[str], key: str) -> pl.DataFrame:
    """Return columns of `KEYS` of a file: numbers as Int64, ids and digests in small letters, other types as they are.

    Raises:
        UserError: The file cannot be read, or there are no whole numbers where there should be.
    """
    table = _whole(path, key, names)
    held = [name for name in names if name in NUMBERS or table[name].dtype == pl.String]
    return table.with_columns(_keys(table.select(held), path, key))


def _keys(table: pl.DataFrame, path: Path, key: str) -> pl.DataFrame:
    return table.with_columns(
        _whole_number(column, path, key) if column.name in NUMBERS else _text(column) for column in table
    )


def check_score_file(path: Path, column: str, by: str | None, key: str) -> tuple[str, ...]:
    """Return the columns of a file that say whose its scores are, after a look at the columns that it has.

    Args and errors are those of `read_scores`.
    """
    names = score_columns(path, key)
    if column not in names:
        raise UserError(
            f"{key}: '{path}' has no column '{column}'", f"{did_you_mean(column, names)}; name it with `column`"
        )
    wanted = KEYS[by or way_of(names, key, path)]
    if absent := [name for name in wanted if name not in names]:
        raise UserError(f"{key}: '{path}' has no column '{absent[0]}', by which by={by} joins", _ways(names))
    if column in wanted:
        raise UserError(f"{key}.column={column} says whose a score is, and is none", "name the column of the scores")
    return wanted


def chosen_way(path: Path, by: str | None, key: str) -> str | None:
    """Return `by` where the file's columns do not tell that themselves, else None: both ways of saying it are one.

    Args and errors are those of `read_scores`.
    """
    return None if ways_of(score_columns(path, key)) == [by] else by


def ways_of(names: Iterable[str]) -> list[str]:
    """Return which of `KEYS` a file's columns are of."""
    return [way for way, columns in KEYS.items() if {*columns} <= {*names}]


def strongest(ways: Iterable[str]) -> str:
    """Return that of some of `KEYS` which is the last to name another completion when data or their order change."""
    return min(ways, key=_STRONGEST.index)


def way_of(names: Iterable[str], key: str, path: Path) -> str:
    """Return which of `KEYS` a file's columns are of.

    Raises:
        UserError: Of none, or of several.
    """
    found = ways_of(names)
    if not found:
        raise UserError(f"{key}: '{path}' does not say whose its scores are", _ways(names))
    if len(found) > 1:
        raise UserError(
            f"{key}: '{path}' says in several ways whose its scores are: {', '.join(found)}",
            f"say which holds, such as by: {strongest(found)}",
        )
    return found[0]


def join_scores(completions: pl.DataFrame, scores: pl.DataFrame, key: str) -> JoinedScores:
    """Return the scores of the completions.

    Args:
        completions: The completions table: prompt_id, row, completion and, for scores by text, the texts.
        scores: As `read_scores` returns them.
        key: What names the file in the config, for messages.

    Raises:
        UserError: A completion has two scores that differ, or none of the scores is one of these completions'.
    """
    by = scores.columns[:-1]
    usable = scores.filter(pl.col(SCORE).is_not_null())
    told = usable.drop_nulls(by)
    keyed = _hashed(told, by).with_columns(told[SCORE], **{PLACE: pl.int_range(told.height)})
    keys = [name for name in keyed.columns if name not in (SCORE, PLACE)]
    distinct = keyed.unique(keys, keep="first")
    named = _named(completions, by)
    table = _hashed(named, by)
    if distinct.height < told.height:
        _check_doubles(told, keyed, table.with_columns(completions["row"].alias(ROW)), key)
    unclear = pl.repeat(False, table.height, eager=True)
    if by == list(KEYS["prompt_id"]):
        unclear = table.is_duplicated()
    found = table.join(distinct, on=keys, how="left", maintain_order="left")[SCORE]
    values = pl.select(pl.when(~unclear).then(found)).to_series().rename(SCORE)
    matched = distinct.join(table.filter(~unclear), on=keys, how="semi").height
    with_score = table.height - values.null_count()
    several = named["prompt"].null_count() if by == list(KEYS["texts"]) else 0
    if not with_score:
        raise UserError(
            f"{key}: none of {told.height} scores, which are by {' and '.join(by)}, is one of a completion here",
            ("a digest alone can name a prompt of several turns:" if several else "are they of this data?")
            + " docs/language.md says how a file tells whose its scores are",
        )
    counts = {
        "with_score": with_score,
        "without_score": values.null_count(),
        "matched": matched,
        "unmatched": distinct.height - matched + usable.height - told.height,
        "double": told.height - distinct.height,
        "missing": scores.height - usable.height,
        "unclear": int(unclear.sum()),
    }
    if several:
        counts["several_turns"] = several
    return JoinedScores(values, counts)


def _check_doubles(told: pl.DataFrame, keyed: pl.DataFrame, here: pl.DataFrame, key: str) -> None:
    """Refuse two scores that differ of one completion, or of several that the file's columns cannot tell apart.

    Args:
        told: The scores by the columns that say whose they are.
        keyed: The same by what is joined by, with SCORE and PLACE.
        here: The completions by what is joined by, with ROW.
        key: What names the file in the config.
    """
    keys = [name for name in keyed.columns if name not in (SCORE, PLACE)]
    differ = keyed.filter(pl.col(SCORE).min().over(keys) != pl.col(SCORE).max().over(keys))
    if differ.is_empty():
        return
    first = differ.sort(PLACE).head(1)
    both = differ.join(first, on=keys, how="semi").select(pl.col(SCORE).min().alias("low"), high=pl.col(SCORE).max())
    whose = told.drop(SCORE).row(first[PLACE].item(), named=True)
    named = ", ".join(f"{name} {str(value)[:SHOWN]}" for name, value in whose.items())
    rows = here.join(first, on=keys, how="semi")[ROW].sort()
    if len(rows) > 1:
        by_id = list(whose) == list(KEYS["prompt_id"])
        raise UserError(
            f"{key}: {named} is {len(rows)} completions of these data, those of the rows {rows[0]} and {rows[1]}"
            f"{' and others' * (len(rows) > 2)}, and the file has two scores of it, {both['low'].item():g} and "
            f"{both['high'].item():g}",
            f"name scores by what tells these completions apart: {'digest, texts, or ' * by_id}row and completion",
        )
    raise UserError(
        f"{key}: {named} has two scores, {both['low'].item():g} and {both['high'].item():g}",
        "give each completion one score, or several columns with names of their own",
    )


def texts_needed(by: Sequence[str]) -> list[str]:
    """Return the columns of the completions table that are needed to find whose scores are, beside its keys."""
    return [] if "completion" in by else ["instruction", "response"]


def score_columns(path: Path, key: str) -> list[str]:
    """Return the names of a file's columns, without reading all of it.

    Raises:
        UserError: It cannot be read.
    """
    kind = _kind(path, key)
    if kind == ".csv":
        given.check_header(path, key)
    scan: dict[str, Callable[[], pl.LazyFrame]] = {
        ".parquet": lambda: pl.scan_parquet(path, glob=False),
        ".csv": lambda: pl.scan_csv(path, glob=False, infer_schema=False),
        ".csv.gz": lambda: pl.scan_csv(path, glob=False, infer_schema=False),
    }
    try:
        if kind in scan:
            return scan[kind]().collect_schema().names()
        with _opened(path) as stream:
            first = given.parse(stream.readline().decode("utf-8-sig"))
    except (OSError, ValueError, pl.exceptions.PolarsError) as problem:
        raise _unreadable(path, key, problem) from problem
    if not isinstance(first, dict):
        raise UserError(f"{key}: '{path}' does not begin with a JSON object", "write one object a line")
    return list(first)


def _whole(path: Path, key: str, columns: Sequence[str]) -> pl.DataFrame:
    """Read columns of a file."""
    kind = _kind(path, key)
    texts = {name: pl.String for names in KEYS.values() for name in names if name not in NUMBERS}
    read: dict[str, Callable[[], pl.DataFrame]] = {
        ".parquet": lambda: pl.read_parquet(path, columns=[*columns], glob=False),
        ".csv": lambda: _csv(path, columns, texts),
        ".csv.gz": lambda: _csv(path, columns, texts),
        ".jsonl": lambda: pl.read_ndjson(path.read_bytes(), infer_schema_length=None).select(columns),
        ".jsonl.gz": lambda: pl.read_ndjson(gzip.decompress(path.read_bytes()), infer_schema_length=None).select(
            columns
        ),
    }
    try:
        return read[kind]()
    except (OSError, EOFError, ValueError, pl.exceptions.PolarsError) as problem:
        raise _unreadable(path, key, problem) from problem


def _csv(path: Path, columns: Sequence[str], texts: dict[str, Any]) -> pl.DataFrame:
    own = {name: kind for name, kind in texts.items() if name in columns}
    return pl.read_csv(path, columns=[*columns], schema_overrides=own, infer_schema_length=None, glob=False)


def _opened(path: Path) -> Any:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")


def _kind(path: Path, key: str) -> str:
    name = path.name.lower()
    found = next((ending for ending in ENDINGS if name.endswith(ending)), None)
    if found is None:
        raise UserError(f"{key}: cannot read the type of '{path}'", f"use one of {', '.join(ENDINGS)}")
    return found


def _unreadable(path: Path, key: str, problem: Exception) -> UserError:
    return UserError(f"{key}: '{path}' cannot be read: {first_line(problem)}", "write the file again")


def _ways(names: Iterable[str]) -> str:
    ways = "; ".join(" and ".join(columns) for columns in KEYS.values())
    return f"it needs the columns {ways}; it has {', '.join(names)}"


def _whole_number(column: pl.Series, path: Path, key: str) -> pl.Series:
    whole = column.cast(pl.Int64, strict=False) if column.dtype.is_numeric() else None
    if whole is None or (whole != column).any():
        raise UserError(f"{key}: '{path}' has no whole numbers in '{column.name}'", "write numbers, from 0")
    return whole


def _text(column: pl.Series) -> pl.Series:
    text = column.cast(pl.String)
    return text.str.to_lowercase() if column.name in ("digest", "prompt_id") else text


def _score(column: pl.Series, path: Path, key: str) -> pl.Series:
    if not column.dtype.is_numeric() and column.dtype != pl.Null:
        raise UserError(
            f"{key}: '{path}' has no numbers in '{column.name}' (but {column.dtype})", "name a column of numbers"
        )
    number = column.cast(pl.Float64).rename(SCORE)
    finite = pl.select(pl.when(number.is_finite()).then(number).alias(SCORE)).to_series()
    if beyond := finite.filter(finite.abs() > given.LARGEST).len():
        raise UserError(
            f"{key}: '{path}' has {beyond} scores beyond {given.LARGEST:.0e} in '{column.name}', which nothing can be "
            "computed with",
            "scale them, or leave those rows out",
        )
    return finite


def _named(completions: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return what the completions are called in a file of scores, in the table's order."""
    if "completion" in by:
        return completions.select(by)
    if list(by) == list(KEYS["texts"]):
        single = pl.col(CONTEXT).list.len() == 0 if CONTEXT in completions.columns else pl.lit(True)
        return completions.select(prompt=pl.when(single).then("instruction"), response="response")
    return digests_of(completions).to_frame()


def digests_of(completions: pl.DataFrame) -> pl.Series:
    """Return the digest of each completion, as files of scores have it.

    Args:
        completions: Columns instruction, response and, where there are earlier turns, context, shape (n,).
    """
    context = completions[CONTEXT].to_list() if CONTEXT in completions.columns else None
    before = context or [[]] * completions.height
    texts = zip(before, completions["instruction"], completions["response"], strict=True)
    digests = [completion_digest([*(turn["content"] for turn in turns), prompt], said) for turns, prompt, said in texts]
    return pl.Series("digest", digests, dtype=pl.String)


def _hashed(table: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Return what is joined by: of texts hashes of 64 bits and lengths, which take a hundredth of the memory."""
    if list(by) != list(KEYS["texts"]):
        return table.select(by)
    there = pl.all_horizontal(pl.col(by).is_not_null())
    hashes = [pl.when(there).then(pl.col(name).hash()).alias(name) for name in by]
    return table.select(*hashes, *(pl.col(name).str.len_bytes().alias(f"_{name}_bytes") for name in by))
