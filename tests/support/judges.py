"""Judges and pairs for the tests of judging."""

from notus_exp.config.schema import Judge
from notus_exp.disk.hashing import prompt_id
from notus_exp.judging.verdicts import AnswerPair, Grading

DEFAULTS = {
    "name": "mock",
    "model": "judge",
    "snapshot": None,
    "parser": "ranking",
    "template": None,
    "both_orders": True,
    "temperature": 0.0,
    "max_tokens": 16,
    "seed": None,
    "top_logprobs": 5,
    "max_failure_rate": 0.05,
    "base_url": None,
    "api_key_env": "NOTUS_TEST_KEY",
    "concurrency": 8,
    "requests_per_minute": None,
    "timeout": 5.0,
    "max_retries": 6,
    "offline": False,
    "input_price": None,
    "output_price": None,
    "budget": None,
    "path": None,
    "revision": "main",
    "max_length": 512,
}


def judge(**changes):
    return Judge(**(DEFAULTS | changes))


def pair(number):
    instruction = f"Question {number}?"
    return AnswerPair(prompt_id(instruction), instruction, f"reference {number}", f"model {number}")


def grading(number, turn=1, references=False):
    questions = tuple(f"Question {number}.{t}?" for t in range(1, turn + 1))
    answers = tuple(f"answer {number}.{t}" for t in range(1, turn + 1))
    known = tuple(f"known {number}.{t}" for t in range(1, turn + 1)) if references else ()
    return Grading(prompt_id(questions[0]), turn, "math", questions, answers, known)
