"""Judges and pairs for the tests of judging."""

from notus_exp.config.judge_settings import MockJudge, OpenAIJudge, ReplayJudge, RewardModelJudge
from notus_exp.disk.hashing import prompt_id
from notus_exp.judging.verdicts import AnswerPair, Grading

JUDGE = {"model": "judge", "max_failure_rate": 0.05}
CHAT = JUDGE | {
    "snapshot": None,
    "parser": "ranking",
    "template": None,
    "both_orders": True,
    "temperature": 0.0,
    "max_tokens": 16,
    "seed": None,
    "concurrency": 8,
    "requests_per_minute": None,
    "offline": False,
    "input_price": None,
    "output_price": None,
    "budget": None,
}
ENDPOINT = {
    "top_logprobs": 5,
    "base_url": None,
    "api_key_env": "NOTUS_TEST_KEY",
    "timeout": 5.0,
    "max_retries": 6,
    "max_wait": 600.0,
    "token_limit_parameter": "max_tokens",
    "thinking": "none",
    "ask_again": 0,
}


def mock_judge(**changes):
    return MockJudge(**({"name": "mock"} | CHAT | changes))


def openai_judge(**changes):
    return OpenAIJudge(**({"name": "openai"} | CHAT | ENDPOINT | changes))


def replay_judge(path, **changes):
    return ReplayJudge(**({"name": "replay", "path": str(path)} | JUDGE | changes))


def reward_judge(folder, **changes):
    given = {"name": "reward_model", "revision": "main", "max_length": 512} | JUDGE | {"model": str(folder)}
    return RewardModelJudge(**(given | changes))


def pair(number):
    instruction = f"Question {number}?"
    return AnswerPair(prompt_id(instruction), instruction, f"reference {number}", f"model {number}")


def grading(number, turn=1, references=False):
    questions = tuple(f"Question {number}.{t}?" for t in range(1, turn + 1))
    answers = tuple(f"answer {number}.{t}" for t in range(1, turn + 1))
    known = tuple(f"known {number}.{t}" for t in range(1, turn + 1)) if references else ()
    return Grading(prompt_id(questions[0]), turn, "math", questions, answers, known)
