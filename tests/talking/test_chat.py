"""`python -m notus_exp.chat`: what the models of a run say, in which order, and what ends a conversation."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from notus_exp.contracts.manifest import Manifest
from notus_exp.disk import files
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.evaluation import generations
from notus_exp.frames.run_data import load_run
from notus_exp.generation.conversation import Answer
from notus_exp.reporting.console import make_console
from notus_exp.stages.settings import GenerationsSettings, to_json
from notus_exp.talking.chat_command import main
from notus_exp.talking.dialogue import AnsweredPrompt, Dialogue, Manner
from notus_exp.talking.models_of_run import models_of_run
from notus_exp.talking.terminal_talk import show
from notus_exp.talking.voices import load_voices
from support.configs import composed
from support.pipelines import ENVIRONMENT
from support.places import ROOT

Chat = Callable[..., tuple[int, str, str]]
BASE_KEY, POLICY_KEY, FULL_KEY = ("b" * 64, "a" * 64, "f" * 64)


def _artifact(store: ArtifactStore, stage: str, key: str, inputs: dict[str, str], fill: Callable[[Path], Any]) -> None:
    def make(out: Path) -> dict[str, Any]:
        fill(out / files.MODEL)
        return {}

    store.build(Manifest(stage, key, {}, inputs, {}), make, resumable=False)


def _run(outputs: Path, name: str, nodes: dict[str, str], config: dict[str, Any], status: str = "finished") -> None:
    stages = {
        node: {
            **{"key": key, "path": str(outputs / "artifacts" / f"{node}-{key[:16]}"), "facts": {}, "reused": False},
            **{"seconds": 1.0, "seconds_when_made": 1.0},
            "inputs": {"base_model": BASE_KEY} if node == "policy" else {},
        }
        for node, key in nodes.items()
    }
    content = {"run_id": name, "status": status, "config": config, "stages": stages, "metrics": {}}
    (outputs / "runs" / name).mkdir(parents=True)
    (outputs / "runs" / name / files.RUN_JSON).write_text(json.dumps(content))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """Outputs with a run whose policy is an adapter, one whose policy has weights of its own, and one without any."""
    outputs = tmp_path_factory.mktemp("chat") / "outputs"
    store = ArtifactStore(outputs / "artifacts")
    model = AutoModelForCausalLM.from_pretrained(tiny_model_folder, dtype=torch.float32)
    torch.manual_seed(0)

    def full(folder: Path) -> None:
        shutil.copytree(tiny_model_folder, folder)
        moved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            for weights in moved.model.layers.parameters():
                weights.add_(0.05 * torch.randn_like(weights))
        moved.save_pretrained(folder)

    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    of_base = {"base_model": BASE_KEY}
    _artifact(store, "base_model", BASE_KEY, {}, lambda folder: shutil.copytree(tiny_model_folder, folder))
    _artifact(store, "policy", FULL_KEY, of_base, full)
    _artifact(store, "policy", POLICY_KEY, of_base, lambda folder: get_peft_model(model, lora).save_pretrained(folder))
    config = to_json(composed("experiment=smoke"))
    base = {"base_model": BASE_KEY}
    _run(outputs, "adapted", {**base, "policy": POLICY_KEY}, config)
    _run(outputs, "whole", {**base, "policy": FULL_KEY}, config)
    _run(outputs, "stopped", base, config, status="failed")
    _run(outputs, "begun", {}, config, status="failed")
    return outputs


@pytest.fixture
def chat(made: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Chat:
    """Talk with a run by a pipe; return exit code, standard output and error."""

    def talk(run: str, said: str | bytes, *options: str, outputs: Path = made) -> tuple[int, str, str]:
        given = said.encode() if isinstance(said, str) else said
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "utf-8"))
        try:
            code = main([run, "--output-dir", str(outputs), "--max-new-tokens", "6", *options])
        except SystemExit as end:  # argparse's own way out
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return talk


def _settings(prompts: Path, **changes: Any) -> GenerationsSettings:
    settings: dict[str, Any] = {
        "evaluation": "verifiable",
        "chosen": {"prompts": 4, "split": "test"},
        **{"seed": 1, "max_new_tokens": 6, "temperature": 0.0, "temperatures": {}, "system_prompt": ""},
        **{"precision": "float32", "endpoint_model": None},
    }
    return GenerationsSettings(**settings | changes)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("policy", ["adapted", "whole"])
def test_answers_are_those_of_the_stage_generations(
    made: Path, tmp_path: Path, context: Any, policy: str, temperature: float
) -> None:
    run = load_run(made / "runs" / policy)
    feedback = tmp_path / "feedback-0"
    feedback.mkdir()
    pl.DataFrame({"prompt_id": []}, schema={"prompt_id": pl.String}).write_parquet(feedback / files.COMPLETIONS)
    models = models_of_run(run, with_policy=True)._replace(system_prompt="")
    assert models.policy is not None
    stage = {"base": {"base_model": models.base}, "policy": {"base_model": models.base, "policy": models.policy}}
    tables = {}
    for side, inputs in stage.items():
        (tmp_path / side).mkdir()
        settings = _settings(feedback, temperature=temperature)
        generations.run(settings, {**inputs, "feedback": feedback}, tmp_path / side, context())
        tables[side] = pl.read_parquet(tmp_path / side / files.GENERATIONS)
    assert tables["base"]["response_ids"].to_list() != tables["policy"]["response_ids"].to_list()
    talk = Dialogue(load_voices(models), Manner(temperature, 6, 1), fresh=True)
    alone = Dialogue(load_voices(models, with_base=False), Manner(temperature, 6, 1), fresh=True)
    for place, prompt in enumerate(tables["base"]["instruction"]):
        said = talk.ask(prompt).answers
        for side, answer in said.items():
            row = tables[side].row(place, named=True)
            assert (answer.response_ids, answer.prompt_ids) == (row["response_ids"], row["prompt_ids"])
            assert (answer.response, answer.truncated) == (row["response"], row["truncated"])
        assert alone.ask(prompt).answers["policy"].response_ids == said["policy"].response_ids


def test_one_copy_of_the_weights_serves_both_where_the_policy_is_an_adapter(made: Path) -> None:
    voices = load_voices(models_of_run(load_run(made / "runs/adapted"), with_policy=True))
    assert voices["base"]._model is voices["policy"]._model
    of_two = load_voices(models_of_run(load_run(made / "runs/whole"), with_policy=True))
    assert of_two["base"]._model is not of_two["policy"]._model


class Echo:
    """A voice that says what it was shown."""

    def __init__(self, name: str, most: int = 99) -> None:
        self.name, self.most = name, most

    def encode(self, messages: list[dict[str, str]]) -> list[int]:
        self.shown = " ".join(f"{one['role'][0]}:{one['content']}" for one in messages)
        if len(messages) > self.most:
            from notus_exp.errors import UserError

            raise UserError("too long")
        return [len(messages)]

    def answer(self, prompt_id: str, turn: int, ids: list[int], manner: Manner) -> Answer:
        return Answer(f"{self.name}{turn}", 1, False, ids, [1])


def _echoes(fresh: bool = False, most: int = 99) -> tuple[Dialogue, dict[str, Any]]:
    voices: dict[str, Any] = {"base": Echo("b"), "policy": Echo("p", most)}
    return Dialogue(voices, Manner(0.0, 6, 0), fresh=fresh), voices


def test_each_model_sees_its_own_answers_and_after_a_reset_none() -> None:
    talk, voices = _echoes()
    talk.ask("one")
    talk.ask("two")
    assert voices["base"].shown == "u:one a:b1 u:two"
    assert voices["policy"].shown == "u:one a:p1 u:two"
    talk.reset()
    talk.reset()
    assert talk.ask("three") == AnsweredPrompt(2, 1, "three", talk.exchanges[-1].answers)
    assert voices["base"].shown == "u:three"


def test_fresh_prompts_know_nothing_of_each_other() -> None:
    talk, voices = _echoes(fresh=True)
    assert [talk.ask(text).conversation for text in ("one", "two")] == [1, 2]
    assert voices["policy"].shown == "u:two"


def test_what_one_model_cannot_read_is_asked_of_none_and_is_not_part_of_the_conversation() -> None:
    talk, voices = _echoes(most=1)
    talk.ask("one")
    with pytest.raises(Exception, match="too long"):
        talk.ask("two")
    assert [one.prompt for one in talk.exchanges] == ["one"]
    voices["policy"].most = 99
    talk.ask("three")
    assert voices["base"].shown == "u:one a:b1 u:three"


def test_a_pipe_has_a_prompt_a_line_and_commands_among_them(chat: Chat, tmp_path: Path) -> None:
    saved = tmp_path / "said.jsonl"
    said = f"Hello\n\nAnd now?\n/reset\n//etc is what?\n/save {saved}\n/quit\nnever said\n"
    code, out, err = chat("adapted", said)
    assert code == 0, err
    assert [line for line in out.splitlines() if line.startswith("> ")] == ["> Hello", "> And now?", "> /etc is what?"]
    assert out.count("[base") == out.count("[policy") == 3
    rows = [json.loads(line) for line in saved.read_text().splitlines()]
    assert [(row["conversation"], row["turn"], row["prompt"]) for row in rows] == [
        (1, 1, "Hello"),
        (1, 2, "And now?"),
        (2, 1, "/etc is what?"),
    ]
    assert rows[0] | {"base": "", "policy": "", "truncated": []} == {
        **{"run": "adapted", "system": "", "temperature": 0.0, "max_new_tokens": 6, "seed": 0, "conversation": 1},
        **{"turn": 1, "prompt": "Hello", "base": "", "policy": "", "truncated": []},
    }
    assert "3 prompts saved" in err


def test_a_file_that_is_there_is_not_written_over_and_an_unknown_command_is_said_to_no_model(
    chat: Chat, tmp_path: Path
) -> None:
    kept = tmp_path / "mine"
    kept.write_text("precious")
    code, out, err = chat("adapted", f"/save {kept}\n/save\n/rest\n/home/me\n", "--base-only")
    assert (code, out, kept.read_text()) == (2, "", "precious")
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert lines == [
        f"error: {kept} is there already",
        "error: /save needs a file",
        "error: /rest is no command",
        "error: /home/me is no command",
    ]
    assert "did you mean '/reset'?" in err and "with //" in err


def test_a_prompt_that_is_too_long_is_one_error_and_the_next_one_is_answered(chat: Chat) -> None:
    code, out, err = chat("adapted", f"{'word ' * 3000}\nshort\n", "--policy-only")
    assert code == 2
    assert re.search(
        r"^error: the prompt has \d+ tokens, which leaves no room for an answer: the model reads \d+$", err, re.M
    )
    assert "Traceback" not in err
    assert "> short" in out and "[policy" in out and "[base" not in out


def test_what_is_not_utf_8_is_refused_and_a_byte_order_mark_is_none_of_the_prompt(chat: Chat) -> None:
    code, out, err = chat("adapted", b"\xef\xbb\xbfone\n\xff\xfe\n", "--base-only")
    assert (code, out.splitlines()[0]) == (2, "> one")
    assert "the prompt is not UTF-8" in err


@pytest.mark.parametrize(
    ("run", "options", "said"),
    [
        ("stopped", [], "run stopped has no policy: it is failed"),
        ("begun", ["--base-only"], "run begun has no model: it is failed"),
        ("nothing_like_it", [], "there is no run 'nothing_like_it'"),
        ("adapted", ["--temperature", "-1"], "--temperature: '-1' is not a number of at least 0"),
        ("adapted", ["--max-new-tokens", "0"], "--max-new-tokens: '0' is not a whole number of at least 1"),
        ("adapted", ["--base-only", "--policy-only"], "do not go together"),
    ],
)
def test_what_cannot_be_is_one_clear_error(chat: Chat, run: str, options: list[str], said: str) -> None:
    code, out, err = chat(run, "Hello\n", *options)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and said in err.splitlines()[0]
    assert "Traceback" not in err


def test_the_base_model_of_a_run_that_got_no_further_talks(chat: Chat) -> None:
    code, out, _ = chat("stopped", "Hello\n", "--base-only")
    assert (code, "[base" in out) == (0, True)


def test_a_damaged_model_is_named_and_not_loaded(chat: Chat, made: Path, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(made, outputs)
    [weights] = outputs.glob("artifacts/policy-aaaa*/model/*.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    code, out, err = chat("adapted", "Hello\n", outputs=outputs)
    assert (code, out) == (2, "")
    assert err.splitlines()[0] == f"error: {weights} is not what was written: its content was changed"
    shutil.rmtree(weights.parent.parent)
    code, _, err = chat("adapted", "Hello\n", outputs=outputs)
    assert code == 2 and err.splitlines()[0].endswith("is gone")


def _shown(width: int | None, text: str = "an answer") -> str:
    """What two answers look like in a terminal of a width, or in a file."""

    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return width is not None

    console = make_console(Stream())
    console.width = width or console.width
    answers = {name: Answer(text, 2, name == "base", [], []) for name in ("base", "policy")}
    show(AnsweredPrompt(1, 1, "?", answers), console)
    printed: str = console.file.getvalue()  # type: ignore[attr-defined]
    return re.sub(r"\x1b\[[0-9;]*m", "", printed)


def test_answers_stand_side_by_side_where_there_is_room_and_else_below_each_other() -> None:
    assert re.search(r"base \(cut\) +policy *\nan answer +an answer", _shown(120))
    narrow = _shown(60)
    assert [line.split()[0] for line in narrow.split("\n") if line.strip()] == ["base", "an", "policy", "an"]
    assert _shown(None) == "[base (cut)]\nan answer\n[policy]\nan answer\n\n"


@pytest.mark.parametrize("width", [120, 60, None])
def test_no_control_character_of_an_answer_reaches_the_terminal(width: int | None) -> None:
    shown = _shown(width, "a\x1b[2Jb\x07\r\x9b31m\u202ec")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "␛" in shown


TYPED = """
from notus_exp.disk import streams
from notus_exp.generation.conversation import Answer
from notus_exp.reporting.commands import as_process
from notus_exp.talking.dialogue import Dialogue, Manner
from notus_exp.talking.terminal_talk import Talk, hold, typed_lines

class Echo:
    def __init__(self, words):
        self.words = words
    def encode(self, messages):
        self.shown = messages[-1]["content"]
        return [1]
    def answer(self, prompt_id, turn, ids, manner):
        print("what a library says")
        return Answer(f"{self.words} {self.shown!r}", 1, False, ids, [1])

def main():
    voices = {"base": Echo("you said"), "policy": Echo("and I")}
    with streams.apart():
        return hold(Talk(Dialogue(voices, Manner(0.0, 4, 0)), {}, typed_lines(), True))

as_process(main)
"""
"""A conversation at a terminal with two that answer at once."""


@pytest.fixture
def terminal() -> Iterator[tuple[subprocess.Popen[bytes], Callable[[str], str], int]]:
    """The command in a terminal: the process, what waits for words on the screen, and where keys are typed."""
    keys, screen = pty.openpty()
    command = [sys.executable, "-c", TYPED]
    process = subprocess.Popen(
        command,
        stdin=screen,
        stdout=screen,
        stderr=screen,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    os.close(screen)
    seen = ""

    def until(words: str) -> str:
        nonlocal seen
        deadline = time.monotonic() + 120
        while not re.search(words, seen):
            assert time.monotonic() < deadline, seen
            if select.select([keys], [], [], 1)[0]:
                seen += os.read(keys, 65536).decode("utf-8", "replace")
        found, seen = seen, ""
        return found

    try:
        yield process, until, keys
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        os.close(keys)


@pytest.mark.parametrize(("key", "code"), [(b"\x04", 0), (b"\x03", 130)])
def test_in_a_terminal_a_line_is_answered_and_ctrl_d_and_ctrl_c_end_it_in_order(
    terminal: tuple[subprocess.Popen[bytes], Callable[[str], str], int], key: bytes, code: int
) -> None:
    process, until, keys = terminal
    begun = until(r"> $")
    assert begun == "> "
    os.write(keys, b"Hexllo\x1b[D\x1b[D\x1b[D\x7f\n")  # readline: three to the left, and the letter before goes
    answered = until(r"> $")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", answered)
    assert re.search(r"base {20,}policy *\r\nyou said 'Hello' {20,}and I 'Hello'", plain)
    os.write(keys, b"/save /dev/null/x\n")
    saved = until(r"> $")
    assert "cannot be written" in saved
    assert "what a library says" not in answered + saved
    os.write(keys, key)
    if code:
        until("interrupted")
    assert process.wait(30) == code
