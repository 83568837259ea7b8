"""Whether a file of scores, joined by numbers, says the same of a completion in its other columns.

Numbers move: a source more in a mix moves rows, a sampler's order moves completions. Ids of prompts, texts and digests
do not, so that where a file has them too they tell scores of other completions. Texts are compared folded
(disk/folding.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from notus_exp.config.score_settings import KEYS
from notus_exp.disk.folding import folded
from notus_exp.errors import UserError
from notus_exp.feedback.prompt_turns import CONTEXT
from notus_exp.scoring.score_files import SHOWN, digests_of, read_keys, score_columns, strongest, ways_of

_BESIDE = {"row": ("prompt_id", "digest", "prompt", "response"), "prompt_id": ("digest", "response")}
"""Way in which a file is joined by numbers -> columns that say whose a score is without that number."""
_MADE_OF = {"prompt": ("instruction",), "response": ("response",), "digest": ("instruction", "response")}
"""Such a column -> those of the completions table that it is compared with."""


def compared_columns(path: Path, by: Sequence[str], key: str) -> list[str]:
    """Return the columns of a file that say whose its scores are beside those by which it is joined.

    Args:
        path: The file.
        by: The columns by which it is joined, of `KEYS`.
        key: What names the file in the config, for messages.
    """
    way = next(way for way, columns in KEYS.items() if list(columns) == list(by))
    names = score_columns(path, key)
    return [name for name in _BESIDE.get(way, ()) if name in names]


def texts_compared(names: Sequence[str]) -> list[str]:
    """Return the columns of the completions table that `check_agreement` needs beside its keys."""
    return sorted({text for name in names for text in _MADE_OF.get(name, ())})


def check_agreement(completions: pl.DataFrame, path: Path, by: Sequence[str], names: Sequence[str], key: str) -> None:
    """Refuse a file whose rows name one completion by numbers and another by something else.

    Args:
        completions: The completions table: prompt_id, row, completion, and what `texts_compared` says.
        path: The file.
        by: The columns by which it is joined.
        names: Those to compare, of `compared_columns`; one that does not hold text cannot be compared.
        key: What names the file in the config, for messages.

    Raises:
        UserError: With the number of such rows and the first of them.
    """
    table = read_keys(path, [*by, *names], key)
    names = [name for name in names if table[name].dtype == pl.String]
    here = completions.filter(~pl.struct(by).is_duplicated())
    claimed = table.select(*by, *(pl.col(name).alias(f"_{name}") for name in names)).with_row_index("_place")
    found = claimed.join(here, on=list(by), how="inner").sort("_place")
    if found.is_empty() or not names:
        return
    differs = {name: _differs(found, name) for name in names}
    wrong = pl.select(pl.any_horizontal(*differs.values())).to_series()
    if not wrong.any():
        return
    first = wrong.arg_true()[0]
    name = next(name for name, flags in differs.items() if flags[first])
    whose = ", ".join(f"{one} {str(found[one][first])[:SHOWN]}" for one in by)
    there, own = (str(one[first])[:SHOWN] for one in (found[f"_{name}"], _own(found, name)))
    better = strongest(ways_of([*table.columns]))
    raise UserError(
        f"{key}: {wrong.sum()} of {found.height} rows of '{path}' name another completion by {' and '.join(by)} than "
        f"by their other columns: {whose} has {name} '{there}' in the file and '{own}' here",
        f"join by what does not move{f', such as by: {better}' if KEYS[better] != tuple(by) else ''}, or make the "
        f"scores of these data; where '{name}' holds something else, rename that column",
    )


def _differs(found: pl.DataFrame, name: str) -> pl.Series:
    """Say of each row whether a column of the file contradicts the completions table; what is missing does not."""
    there, own = found[f"_{name}"], _own(found, name)
    unequal = (there != own).fill_null(value=False)
    if name in ("prompt", "response"):
        places = unequal.arg_true()
        texts = zip(there.gather(places), own.gather(places), strict=True)
        unequal = unequal.scatter(places, [folded(one) != folded(other) for one, other in texts])
    return unequal.rename(name)


def _own(found: pl.DataFrame, name: str) -> pl.Series:
    """Return what the completions table says in place of a column of the file, null where that cannot be told."""
    if name == "digest":
        return digests_of(found)
    if name == "prompt" and CONTEXT in found.columns:  # a prompt of several turns is no one text
        return found.select(pl.when(pl.col(CONTEXT).list.len() == 0).then("instruction")).to_series()
    return found["instruction" if name == "prompt" else name]
