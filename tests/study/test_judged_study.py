"""A study whose answers and verdicts come from endpoints: an arm without a score, and no secret anywhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.fault_server import FaultServer, token
from support.study_runs import alive, read, run, run_of, start

PLANTED = {
    "OPENAI_API_KEY": "sk-planted-openai-0123456789",
    "HF_TOKEN": "hf_planted0123456789",
    "WANDB_API_KEY": "planted0123456789planted0123456789planted",
    "DATABASE_PASSWORD": "planted-password-of-ours",
}
IN_A_URL = "planted-in-a-url"
PROMPTS = [{"instruction": name, "output": "x", "generator": "r", "dataset": "d"} for name in ("a", "b", "c")]


def reply(body: dict[str, Any]) -> str:
    """Answer as each model; the judge says nothing usable of one policy's answers, and tells the key that it saw."""
    prompt = body["messages"][-1]["content"]
    if body["model"] != "judge":
        return f"answer of {body['model']}, says {PLANTED['OPENAI_API_KEY']}"
    return f"no idea, {PLANTED['OPENAI_API_KEY']}" if "answer of second" in prompt else token(prompt)


def arguments(server: FaultServer, *more: str, seed: int = 0) -> list[str]:
    arms = "{one:['selection=critique','generation.policy_model=first'],two:['generation.policy_model=second']}"
    settings = [
        f"+study.arms={arms}", "study.name=judged", f"study.seeds=[{seed}]", "study.metric=alpaca_eval/win_rate",
        "evaluation=[alpaca_eval]", "evaluation.alpaca_eval.prompts=alpaca.json", "tracking=wandb",
        "generation=openai", f"generation.base_url={server.url}", "generation.base_model=base",
        "judge=openai", f"judge.base_url={server.url}", "judge.model=judge",
        "judge.max_retries=1", "generation.max_retries=1",
    ]  # fmt: skip
    given = {one.partition("=")[0] for one in more}
    return [*(one for one in settings if one.partition("=")[0] not in given), *more]


class Done:
    """A study that ended, and all that it said."""

    def __init__(self, folder: Path, server: FaultServer, code: int, said: list[str], *, seen: bool) -> None:
        self.folder, self.server, self.code, self.said, self.seen = folder, server, code, said, seen


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Done]:
    folder = tmp_path_factory.mktemp("judged")
    (folder / "alpaca.json").write_text(json.dumps(PROMPTS))
    with FaultServer() as server:
        server.reply = reply
        process = start(folder, *arguments(server), WANDB_MODE="offline", **PLANTED)
        seen = False
        while True:
            try:
                said = process.communicate(timeout=1)
                break
            except subprocess.TimeoutExpired:
                seen = seen or any(map(alive, PLANTED.values()))
        yield Done(folder, server, process.returncode, list(said), seen=seen)


def test_an_arm_without_a_score_is_said_and_the_other_goes_on(study: Done) -> None:
    out, err = study.said
    assert study.code == 3, err[-3000:]
    assert out.splitlines()[-1].endswith("studies/judged")
    assert "1 run has no score of an evaluation that was asked for" in err
    assert "two, seed 0: alpaca_eval is not reported: 6 of 6 verdicts on the policy failed" in err
    first, second = (run_of(study.folder, "judged", arm, 0) for arm in ("one", "two"))
    assert (first["status"], second["status"]) == ("finished", "finished")
    assert first["metrics"]["alpaca_eval/win_rate"]["value"] is not None
    assert "alpaca_eval/win_rate" not in second["metrics"]
    comparison = read(study.folder / "outputs/studies/judged/comparison.json")
    assert any("arm 'two', seed 0 has no alpaca_eval/win_rate" in line for line in comparison["warnings"])


def test_no_planted_secret_is_in_any_file_message_or_command_line(study: Done) -> None:
    folder, server = study.folder, study.server
    said = [*study.said]
    bad = f"https://me:{IN_A_URL}@elsewhere.invalid/v1"
    server.location = bad
    server.reply = None
    for seed, plan, more, words in (
        (0, "ok", f"judge.model={bad}?token={IN_A_URL}", "cannot read 'judge.model=https://***@elsewhere.invalid"),
        (0, "ok", f"judge.base_url={bad}", "judge.base_url holds a user name or password"),
        (0, "ok", f'generation.base_url="{bad}?token={IN_A_URL}"', "generation.base_url holds a user name or password"),
        (0, "ok", f"judge.api_key_env={PLANTED['OPENAI_API_KEY']}", "judge.api_key_env is no name"),
        (7, "307", "study.name=redirected", "redirects to https://elsewhere.invalid, another host"),
        (8, "401", "study.name=refused", "refuses the key of the environment variable OPENAI_API_KEY"),
    ):
        server.plan = lambda prompt, nth, plan=plan: plan
        done = run(folder, *arguments(server, more, seed=seed), code=2, **PLANTED)
        assert words in done.stderr
        said += [done.stdout, done.stderr]
    everything = {"what was printed": "".join(said).encode()}
    everything |= {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert len(everything) > 50
    for secret in (*PLANTED.values(), IN_A_URL):
        assert [name for name, content in everything.items() if secret.encode() in content] == []
    assert not study.seen, "a secret was on a command line"
