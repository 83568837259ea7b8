"""Settings of an endpoint hold no secret; one that was put there is refused and not shown."""

from __future__ import annotations

import pytest

from notus_exp.config.commandline import check_arguments
from notus_exp.config.endpoint_checks import check_address
from notus_exp.errors import UserError
from support.configs import composed

SECRET = "hunter2-and-more"
SERVED = ["generation=openai", "generation.base_model=a", "generation.policy_model=b", "evaluation=[preferences]"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        (f"https://me:{SECRET}@host/v1", "holds a user name or password"),
        (f"https://{SECRET}@host/v1", "holds a user name or password"),
        (f"https://me:a/{SECRET}@host/v1", "is no address|holds a user name"),
        (f"https://host/v1?api-key={SECRET}", "goes on after its path"),
        (f"https://host/v1#{SECRET}", "goes on after its path"),
        (f"{SECRET}", "is no address of an endpoint"),
        (f"ftp://host/{SECRET}", "is no address of an endpoint"),
        (f"http://host:{SECRET}/v1", "is no address of an endpoint"),
        (f"http:///{SECRET}", "is no address of an endpoint"),
        (f"http://host/ {SECRET}", "is no address of an endpoint"),
        ("http://[::1/v1", "is no address of an endpoint"),
        ("", "is no address of an endpoint"),
    ],
)
def test_what_is_more_than_an_address_is_refused_and_not_shown(address: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        check_address("judge.base_url", address)
    assert "judge.base_url" in error.value.message
    assert SECRET not in str(error.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000/v1", "https://host", "http://[::1]:8000/v1/"])
def test_an_address_passes(address: str) -> None:
    check_address("judge.base_url", address)


@pytest.mark.parametrize("variable", [SECRET, "sk-abcdef0123456789", "aB3dEf6hIjK9", "", "NO SPACES"])
@pytest.mark.parametrize("group", ["judge", "generation"])
def test_a_key_in_the_place_of_its_variable_is_refused_and_not_shown(group: str, variable: str) -> None:
    chosen = [*SERVED, "generation.base_url=http://host/v1"] if group == "generation" else ["judge=openai"]
    with pytest.raises(UserError, match=f"{group}.api_key_env is no name") as error:
        composed("experiment=smoke", *chosen, f'{group}.api_key_env="{variable}"')
    assert not variable or variable not in str(error.value)


def test_a_variable_in_small_letters_that_is_set_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("my_key", SECRET)
    composed("experiment=smoke", "judge.api_key_env=my_key")


@pytest.mark.parametrize("group", ["judge", "generation"])
def test_both_groups_are_checked_though_nothing_is_asked(group: str) -> None:
    chosen = SERVED if group == "generation" else ["judge=openai"]
    with pytest.raises(UserError, match=rf"{group}.base_url holds a user name or password"):
        composed("experiment=smoke", *chosen, f"{group}.base_url=https://me:{SECRET}@host/v1", "until=config")


@pytest.mark.parametrize("argument", ["judge.base_url={}", "+judge.base_url='{}'", 'generation.base_url="{}?x=1"'])
def test_a_password_on_the_command_line_is_refused_before_anything_is_shown(argument: str) -> None:
    with pytest.raises(UserError, match="holds a user name or password") as error:
        check_arguments(["--cfg", "job", "experiment=smoke", argument.format(f"https://me:{SECRET}@host/v1")])
    assert SECRET not in str(error.value)
