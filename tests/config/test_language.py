"""The language of expressions: what is in it, and what is refused with one line."""

from __future__ import annotations

import pytest

from notus_exp.config.column_names import BOOLEAN, NUMBER, TEXT
from notus_exp.config.commandline import readable
from notus_exp.config.expression_trees import MOST_CHARS
from notus_exp.config.language import Scope, read
from notus_exp.errors import UserError
from support.configs import composed

SCOPE = Scope("selection.score", {"x": NUMBER, "y": NUMBER, "armorm": NUMBER, "model": TEXT})
CODE = [
    "__import__('os').system('ls')", "(SELECT 1)", "x IN (SELECT 1)", "EXISTS(SELECT 1)", "read_csv('/etc/passwd')",
    "pg_read_file('a')", "x; DROP TABLE y", "SELECT 1", "1;2", "UNNEST(x)", "x AS y", "x y", "*", "COUNT(*)", "x.*",
    "t.x", "RANDOM()", "CAST(x AS int)", "x::int", "INTERVAL '1 day'",
    "EXTRACT(year FROM x)", "CURRENT_DATE", "NOW()",
    "AVG(x) OVER (PARTITION BY model)", "AVG(x) OVER (ORDER BY y)",
    "SUM(x) OVER (ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)",
    "RANK() OVER w", "RANK() OVER ()", "ROW_NUMBER() OVER ()", "LAG(x) OVER (ORDER BY y)", "RANK()", "x ** 2", "x -- y",
    "x /* c */", "COUNT(DISTINCT x)", "AVG(x) FILTER (WHERE y > 1)", "AVG(AVG(x))", "x BETWEEN SYMMETRIC 1 AND 2",
    "x COLLATE y", "x[1]", "ARRAY[1]", "{x}", "{{ x }}", "${x}", "$1", ":a", "@x", "x'ff'", "'a' || 'b'", "f(x => 1)",
    "x -> y", "lambda: x",
    "AVG(x ORDER BY y)", "JSON_EXTRACT(x, '$.a')", "x = ALL(y)", "VACUUM x", "SET x = 1", "x := 3",
    "PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY x)", "RANK() OVER (ORDER BY AVG(x))", "SIN(x)", "NULL", "x = NULL",
    "", "  ", "x\x00", "1e999", "x +",
    "(" * 200 + "x" + ")" * 200, "NOT " * 400 + "x", "x" + " + x" * 100, "x" * MOST_CHARS * 2,
]  # fmt: skip


@pytest.mark.parametrize("text", CODE, ids=range(len(CODE)))
def test_a_text_that_is_code_or_out_of_the_language_is_refused_with_one_line(text: str) -> None:
    with pytest.raises(UserError) as error:
        read(text, SCOPE, NUMBER)
    message, *hint = str(error.value).splitlines()
    assert message.startswith("selection.score")
    assert len(message) < 200
    assert len(hint) == 1


@pytest.mark.parametrize(
    ("text", "wanted", "words"),
    [
        ("armor", NUMBER, "no column 'armor'\n.*did you mean 'armorm'"),
        ("wordcount", NUMBER, "no column 'wordcount'\n.*columns: x, y, armorm, model"),
        ("AVGG(x)", NUMBER, "no function 'AVGG'\n.*did you mean 'AVG'"),
        ("MEANOF(x, y)", NUMBER, "did you mean 'MEAN_OF'"),
        ("x > 1", NUMBER, "x > 1 is a condition, and a number is needed"),
        ("x", BOOLEAN, "x is a number, and a condition is needed"),
        ("model", NUMBER, "model is a text, and a number is needed"),
        ("model + 1", NUMBER, "model is a text, and model [+] 1 takes a number"),
        ("x = model", BOOLEAN, "mixes a number and a text"),
        ("COALESCE(x, 'a')", NUMBER, "mixes a number and a text"),
        ("x AND y > 1", BOOLEAN, "x is a number"),
        ("CASE WHEN x THEN 1 END", NUMBER, "WHEN takes a condition"),
        ("CASE x WHEN 1 THEN 2 END", NUMBER, "CASE WHEN x = 1"),
        ("model LIKE model", BOOLEAN, "its pattern written out"),
        ("QUANTILE(x, 2)", NUMBER, "a share from 0 to 1"),
        ("MAX(x, y)", NUMBER, "GREATEST"),
        ("WEIGHTED_MEAN_OF(x, y)", NUMBER, "a weight behind each column"),
        ("WEIGHTED_MEAN_OF(x, -1)", NUMBER, "a weight behind each column"),
        ("ROUND(x, y)", NUMBER, "decimals from 0 to 15"),
        ("FLOOR(x / 3, 2)", NUMBER, "takes one value"),
        ("CEIL(x / 3, 2)", NUMBER, "takes one value"),
        ("ROUND(x / 3, 2, 1)", NUMBER, "a value and its decimals"),
        ("MOD(x, y, 2)", NUMBER, "more values than it takes"),
        ("MOD(x, y, armorm)", NUMBER, "more values than it takes"),
        ("x + mod(x, y, x)", NUMBER, "more values than it takes"),
        ("ROUND()", NUMBER, "takes a value|no expression"),
        ("GREATEST()", NUMBER, "takes a value|no expression"),
        ("RANK(y) OVER (ORDER BY x)", NUMBER, "ranks by what stands in OVER"),
        ("DENSE_RANK(y, x) OVER (ORDER BY x)", NUMBER, "ranks by what stands in OVER"),
        ('model = "pairs"', BOOLEAN, "no column 'pairs'\n.*in single quotes: 'pairs'"),
        ("probe_margin + 1", NUMBER, "name their runs"),
        ("score", NUMBER, "no column 'score'\n.*chosen_score"),
        ("COUNT(x > 3)", NUMBER, "SUM[(]CASE WHEN x > 3 THEN 1"),
        ("x IN ()", BOOLEAN, "lists no value"),
        ("CASE WHEN x > 1 THEN NULL END", NUMBER, "always missing"),
        ("x + CASE WHEN x > 1 THEN NULL END", NUMBER, "always missing"),
        ("MEAN_OF(IF(x > 1, NULL, NULL), x)", NUMBER, "always missing"),
        ("RANK() OVER (ORDER BY model)", NUMBER, "no number to rank by"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(text: str, wanted: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(text, SCOPE, wanted)


TAKES = {
    **dict.fromkeys(("ABS", "SQRT", "EXP", "LN", "FLOOR", "CEIL", "CEILING", "SIGN", "AVG", "SUM", "MIN", "MAX"), 1),
    **dict.fromkeys(("COUNT", "STDDEV", "STDDEV_POP", "STDDEV_SAMP", "VARIANCE", "VAR_SAMP", "MEDIAN"), 1),
    **dict.fromkeys(("POWER", "POW", "MOD", "NULLIF"), 2),
}


@pytest.mark.parametrize("name", TAKES)
def test_a_function_takes_so_many_values_and_no_other_number_of_them(name: str) -> None:
    values = ["x", "y", "armorm", "2"]
    read(f"{name}({', '.join(values[: TAKES[name]])})", SCOPE, NUMBER)
    for count in {0, 1, 2, 3, 4} - {TAKES[name]}:
        with pytest.raises(UserError):
            read(f"{name}({', '.join(values[:count])})", SCOPE, NUMBER)


def test_windows_are_the_prompt_and_pairs_have_no_ranks() -> None:
    for text in ("AVG(x) OVER ()", "RANK() OVER (ORDER BY x DESC)", "x - MEDIAN(x)"):
        read(text, SCOPE, NUMBER)
    pairs = Scope("filters.where", {"margin": NUMBER}, {"x": NUMBER}, ranks=False)
    read("margin > STDDEV(x)", pairs, BOOLEAN)
    for text in ("x > 1", "AVG(margin) > 1", "RANK() OVER (ORDER BY margin) = 1"):
        with pytest.raises(UserError, match=r"filters\.where"):
            read(text, pairs, BOOLEAN)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["selection=expression"], "selection.score must be given"),
        (["selection=average", "selection.score=overall"], "selection=average has a score of its own"),
        (["selection=expression", "selection.score=2*helpfulnes"], "did you mean 'helpfulness'"),
        (["selection=expression", "selection.score=source"], "source is a text, and a number is needed"),
        (["'filters.where=\"average > 2\"'"], "write chosen_average or rejected_average"),
        (["pairs.weight=0"], "pairs.weight=0 weighs no pair"),
        (["pairs.weight=-1"], "pairs.weight=-1 weighs no pair"),
        (["selection=expression", "'selection.score=\"x; DROP TABLE y\"'"], "no expression"),
    ],
)
def test_an_expression_is_checked_with_the_config(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        composed(*(override.strip("'") for override in overrides))


def test_any_rating_and_what_every_completion_has_may_be_named() -> None:
    text = "0.5*helpfulness + average + overall - chars/1000 - words + IF(model = 'gpt', 1, 0)"
    assert (
        composed(
            "selection=expression", f"selection.score='{text.replace(chr(39), chr(92) + chr(39))}'"
        ).selection.score
        == text
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("filters.where=margin >= 1", "filters.where='margin >= 1'"),
        ("selection.score=MEAN_OF(a, b) / 2", "selection.score='MEAN_OF(a, b) / 2'"),
        ("filters.where=chosen_model = 'm'", r"filters.where='chosen_model = \'m\''"),
        ("filters.where='margin >= 1'", "filters.where='margin >= 1'"),
        ("rejected.place=mean_minus(2)", "rejected.place='mean_minus(2)'"),
        ("rejected.place=lowest", "rejected.place=lowest"),
        ("filters.keep.by=margin,chosen_chars", "filters.keep.by=margin,chosen_chars"),
        ("selection.score=0.5*helpfulness+honesty", "selection.score=0.5*helpfulness+honesty"),
        ("model.system_prompt=Be brief = short", "model.system_prompt=Be brief = short"),
    ],
)
def test_an_expression_on_the_command_line_needs_the_shells_quotes_alone(given: str, expected: str) -> None:
    assert readable(given) == expected
