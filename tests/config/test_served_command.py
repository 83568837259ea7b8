"""The command of a server of the run's own: read as words, never by a shell, and refused where it cannot work."""

from __future__ import annotations

import pytest

from notus_exp.config.commandline import readable
from notus_exp.config.served_command import check_served_command, command_words, spelt
from notus_exp.errors import UserError
from support.configs import composed
from support.engines import served

GIVEN = "vllm serve {model} --port {port}"


def test_places_are_filled_within_words_and_other_braces_stay() -> None:
    generation = served("e '{model}' --json '{\"a\": 1}' --port={port}", options="-x '{devices}'")
    values = {"model": "/a folder/m; rm -rf $HOME", "devices": "2"}
    assert command_words(generation, values) == [
        *("e", "/a folder/m; rm -rf $HOME", "--json", '{"a": 1}', "--port={port}", "-x", "2"),
    ]
    assert command_words(generation, values | {"adapter": "A"})[5:7] == ["--adapter", "A"]


def test_keys_hold_neither_spaces_nor_the_programs_folder() -> None:
    assert spelt("/opt/env/bin/vllm  serve   {model}") == spelt("vllm serve {model}")
    assert spelt("vllm serve {model} --dtype float32") != spelt("vllm serve {model}")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"command": ""}, "generation.command is empty"),
        ({"command": "vllm serve {model}"}, "has no {port}"),
        ({"command": "vllm serve --port {port}"}, "has no {model}"),
        ({"command": GIVEN + " --x {modle}"}, "{modle}, which is filled with nothing"),
        ({"command": GIVEN + " --lora {adapter}"}, "{adapter}, which is filled with nothing there"),
        ({"command": GIVEN + " 'x"}, "cannot be split into words"),
        ({"command": "A=1 " + GIVEN}, "only a shell would take for a variable"),
        ({"command": GIVEN + " > log"}, "'>', which only a shell understands"),
        ({"command": GIVEN + " && rm x"}, "'&&', which only a shell understands"),
        ({"command": "~/bin/" + GIVEN}, "in whose place only a shell would put a folder"),
        ({"command": GIVEN + " --log $HOME/log"}, "'$HOME/log', in whose place only a shell"),
        ({"options": "--cache=~/c"}, "'--cache=~/c', in whose place only a shell"),
        ({"options": "--api-key abcdefgh"}, "--api-key, whose value would be written down"),
        ({"options": "--hf-token=abcdefgh"}, "--hf-token, whose value would be written down"),
        ({"command": GIVEN, "health": "health"}, "no path of the server"),
        ({"command": GIVEN, "body": {"seed": 3}}, "generation.body sets seed"),
        ({"command": GIVEN, "policy_model": "{adapter}"}, "generation.policy_model has {adapter}"),
    ],
)
def test_a_command_that_cannot_work_is_refused_from_the_config_alone(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as error:
        check_served_command(served(**{"command": GIVEN, **changes}))  # type: ignore[arg-type]
    assert said in error.value.message
    assert "abcdefgh" not in str(error.value)


@pytest.mark.parametrize("option", ["vllm", "sglang", "transformers_serve"])
def test_the_shipped_commands_are_whole(option: str) -> None:
    generation = composed(f"generation={option}", "evaluation=[preferences]").generation
    places = {"model": "/m", "port": "1", "precision": "float32", "device": "cpu", "devices": "1"}
    filled = command_words(generation, {**places, "adapter": "/a", "rank": "16"})
    assert not [word for word in filled if "{" in word]
    assert "127.0.0.1" in filled


def test_what_a_shell_is_given_to_read_is_its_own() -> None:
    check_served_command(served(command="bash -c 'exec serve $HOME/m --port {port} {model}'"))


def test_a_command_needs_no_quotes_within_the_quotes_of_the_shell() -> None:
    command = readable(f"generation.command={GIVEN} --json '{{\"a\": [1, 2]}}'")
    generation = composed("generation=served", command, "evaluation=[preferences]").generation
    assert generation.command == GIVEN + " --json '{\"a\": [1, 2]}'"


def test_divergence_and_dates_need_an_answer_here() -> None:
    with pytest.raises(UserError, match="needs token ids, which generation=vllm does not know"):
        composed("generation=vllm", "evaluation=[verifiable]")
    with pytest.raises(UserError, match="renders the template with the day's date"):
        composed("generation=vllm", "evaluation=[preferences]", "model.template_date=2024-01-01")
