from pathlib import Path

import pytest

from notus_exp.config.data_settings import Mapped
from notus_exp.config.mapping_paths import FieldPath, parsed_path
from notus_exp.config.schema import known_settings
from notus_exp.errors import UserError
from notus_exp.stages.settings import from_json, keyed
from support.configs import composed

GIVEN = ["data=mapped", "data.path=x.jsonl", "selection=critique"]
SIDES = "data.mapping.completions=[{text: good, side: chosen}, {text: bad, side: rejected}]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", FieldPath(("a",))),
        ("a.b-c.-1 or none", FieldPath(("a", "b-c", "-1"), optional=True)),
        ("a.*.b", FieldPath(("a", "*", "b"))),
        ("-a.rank", FieldPath(("a", "rank"), negative=True)),
        ("winner is model a", FieldPath(("winner",), wanted="model a")),
        ("a b.c or none is is", FieldPath(("a b", "c"), optional=True, wanted="is")),
    ],
)
def test_the_notation_of_a_score(text: str, expected: FieldPath) -> None:
    assert parsed_path(text, score=True) == expected


def test_a_path_that_is_no_score_has_its_name_as_it_is() -> None:
    assert parsed_path("-a").parts == ("-a",)
    assert parsed_path("this is b").parts == ("this is b",)


def test_a_mapping_is_given_in_one_override_and_comes_back_from_its_key() -> None:
    mapping = "{prompt: q.text, completions: [{text: out.*.t, score: -out.*.rank, ratings: {help: out.*.h}}]}"
    data = composed(*GIVEN, f"data.mapping={mapping}", "data.aspects=[help]").data
    assert isinstance(data, Mapped)
    (entry,) = data.mapping.completions
    assert (data.mapping.prompt, entry.text, entry.score) == ("q.text", "out.*.t", "-out.*.rank")
    again = from_json(Mapped, keyed(data))
    assert again.mapping == data.mapping


def test_settings_of_the_mapping_are_known_by_their_keys() -> None:
    known = known_settings()
    assert {"data.mapping.prompt", "data.mapping.completions", "data.mapping.roles"} <= set(known)
    assert "data.mapping.completions.text" not in known


@pytest.mark.parametrize(
    ("overrides", "message", "hint"),
    [
        ([], r"data.mapping.completions is empty", "data=trl"),
        (["data.mapping.completions=[{text: a}]"], r"completions\[0\] has no side, score or rating", "score: PATH"),
        (
            ["data.mapping.completions=[{text: a, side: best}]"],
            r"completions\[0\].side=best is not an option",
            "chosen",
        ),
        ([SIDES, "data.mapping.prompt=a..b"], r"data.mapping.prompt='a..b' is no path", "names with dots"),
        ([SIDES, "data.mapping.source=a.*.b"], "source='a.\\*.b' leads to several", "number"),
        (["data.mapping.completions=[{text: a.*.b.*, score: c}]"], "no path: it has '\\*' more than once", "names"),
        (["data.mapping.completions=[{text: a, score: b.*}]"], "reads a list at 'b.\\*', but its text 'a'", "too"),
        (["data.mapping.completions=[{text: a.*, side: chosen}]"], "calls every item chosen", "score"),
        (
            [SIDES, "data.aspects=[help]"],
            "data.aspects names 'help', which data.mapping.completions",
            "ratings: {help: PATH}",
        ),
        ([SIDES, "+data.mapping.roles={expert: writer}"], "data.mapping.roles=writer is not an option", "assistant"),
        ([SIDES, "+data.mapping.speakers={user: Q}"], "a mark for user and one for assistant", "{}"),
        ([SIDES, "+data.mapping.speakers={user: Q, assistant: Q}"], "one mark for both", "each"),
    ],
)
def test_a_mapping_that_cannot_be_read_is_refused_before_anything_is(
    overrides: list[str], message: str, hint: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        composed(*GIVEN, *overrides)
    assert hint in error.value.hint


def test_a_mapping_in_a_file_of_ones_own_is_an_option_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    own = "defaults:\n  - mapped\n  - _self_\nname: mine\nmapping:\n  completions:\n    - {text: a.*, score: -b.*}\n"
    (tmp_path / "data/mine.yaml").write_text(own)
    data = composed("data=mine", "data.path=x.jsonl", "selection=critique", own=tmp_path).data
    assert isinstance(data, Mapped)
    assert (data.name, data.mapping.prompt, data.mapping.completions[0].score) == ("mine", "prompt or none", "-b.*")
