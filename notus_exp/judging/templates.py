"""What a judge is asked: templates of our own, a user's template for comparisons, FastChat's file for gradings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import jinja2

from notus_exp.chat.messages import Messages
from notus_exp.config.annotator_settings import RUBRICS as OWN_RUBRICS
from notus_exp.disk import given
from notus_exp.disk.hashing import digest
from notus_exp.errors import UserError, first_line
from notus_exp.judging.rubrics import rubric_of
from notus_exp.judging.verdicts import MODEL_FIRST, REFERENCE_FIRST, AnswerPair, Grading
from notus_exp.models.bounded_rendering import ask, limit_in_words

FOLDER = Path(__file__).parent / "templates"
PAIRWISE = {
    "ranking": "pairwise_ranking.j2",
    "logprobs": "pairwise_ranking.j2",  # the same question: what differs is how the reply is read
    "letters": "pairwise_letters.j2",
}
RATING = "rating.j2"
RUBRIC, RUBRICS = "rubric.j2", FOLDER / "rubrics"
"""The question by a rubric, and where the rubrics lie; config/annotator_settings.py names them."""
VARIABLES = frozenset({"instruction", "first", "second"})
RUBRIC_VARIABLES = frozenset({"instruction", "response"})
"""Variables of a user's template by which single answers are rated."""

# Prompts are plain text, so nothing is escaped. A user's file is rendered in another process, in the same manner.
_ENVIRONMENT = jinja2.Environment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)

_SINGLE, _MULTI = ("question", "answer", "ref_answer_1"), (
    "question_1", "answer_1", "ref_answer_1", "question_2", "answer_2", "ref_answer_2",
)  # fmt: skip
FASTCHAT_NAMES = {
    (1, False): ("single-v1", _SINGLE),
    (1, True): ("single-math-v1", _SINGLE),
    (2, False): ("single-v1-multi-turn", _MULTI),
    (2, True): ("single-math-v1-multi-turn", _MULTI),
}
"""(turn, with reference answers) -> FastChat's name of the prompt, and the fields that it may have."""


@dataclass(frozen=True)
class ComparisonTemplate:
    """A Jinja2 template with the variables instruction, first and second.

    Attributes:
        source: Its text.
        path: A user's file; None of our own.
    """

    source: str
    path: Path | None = None

    @property
    def digest(self) -> str:
        """The sha256 (hex) of the template."""
        return digest(self.source)


@dataclass(frozen=True)
class RubricTemplate:
    """How one answer is rated by itself.

    Attributes:
        source: A Jinja2 template with the variables instruction and response; of our own also criterion and scale.
        scale: The least and the best rating.
        criterion: What our own template asks for; "" of a user's.
        path: A user's file; None of our own.
    """

    source: str
    scale: tuple[float, float]
    criterion: str = ""
    path: Path | None = None


@dataclass(frozen=True)
class ChatPrompt:
    """A system turn and a user turn with fields in braces, as `str.format` fills them."""

    system: str
    user: str


@dataclass(frozen=True)
class GradingTemplates:
    """Either our own template, or FastChat's four prompts by (turn, with reference answers)."""

    source: str
    fastchat: dict[tuple[int, bool], ChatPrompt]

    @property
    def digest(self) -> str:
        """The sha256 (hex) of what is in use."""
        prompts = [[self.fastchat[key].system, self.fastchat[key].user] for key in sorted(self.fastchat)]
        return digest([self.source, prompts])


def load_comparison_template(parser: str, path: Path | None = None) -> ComparisonTemplate:
    """Return the template for comparisons whose replies `parser` reads.

    Args:
        parser: "ranking", "logprobs" or "letters".
        path: A user's template; None for our own.

    Raises:
        UserError: The file is missing, is no template, has other variables than instruction, first and second, or
            cannot be rendered within the limits.
    """
    if path is None:
        return ComparisonTemplate((FOLDER / PAIRWISE[parser]).read_text(encoding="utf-8"))
    template = ComparisonTemplate(_users_template(path, VARIABLES), path)
    _comparison(template, dict.fromkeys(VARIABLES, "A text."))  # fails now, if ever, and not behind a training
    return template


def load_rubric_template(rubric: str | None, path: Path | None, scale: tuple[float, float]) -> RubricTemplate:
    """Return how single answers are rated.

    Args:
        rubric: The name of one of our own, or the path of a user's; None where a user's template is given.
        path: A user's template.
        scale: The least and the best rating.

    Raises:
        UserError: As of `load_comparison_template`, of the variables instruction and response.
    """
    if path is None:
        return RubricTemplate((FOLDER / RUBRIC).read_text(encoding="utf-8"), scale, _criterion(rubric))
    template = RubricTemplate(_users_template(path, RUBRIC_VARIABLES), scale, path=path)
    _rubric(template, dict.fromkeys(RUBRIC_VARIABLES, "A text."))
    return template


def _criterion(rubric: str | None) -> str:
    """Return what an answer that is rated by itself is rated by; types and N/A are for answers rated together.

    Raises:
        UserError: A user's rubric has some, or is none.
    """
    if rubric in OWN_RUBRICS:
        return (RUBRICS / f"{rubric}.txt").read_text(encoding="utf-8").strip()
    found = rubric_of(rubric)
    if found.types or found.not_applicable:
        only = "types" if found.types else "not_applicable"
        raise UserError(f"judge.rubric={rubric}: {only} is read where answers are rated together", "add together: true")
    return found.criterion


def load_grading_templates(path: Path | None = None) -> GradingTemplates:
    """Return the templates for gradings.

    Args:
        path: A file in the layout of FastChat's judge_prompts.jsonl, whose prompts single-v1, single-math-v1 and those
            with -multi-turn are used, so that published numbers can be reproduced; None for our own.

    Raises:
        UserError: The file is missing or malformed, lacks one of the prompts, or one has an unknown field.
    """
    if path is None:
        return GradingTemplates((FOLDER / RATING).read_text(encoding="utf-8"), {})
    named: dict[str, ChatPrompt] = {}
    for number, line in enumerate(_read(path, "the judge's prompts").splitlines(), 1):
        try:
            row = given.parse(line)
            named[row["name"]] = ChatPrompt(row["system_prompt"], row["prompt_template"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path}:{number} is no judge prompt ({type(error).__name__}: {error})",
                "each line is a JSON object with name, system_prompt and prompt_template",
            ) from None
    return GradingTemplates("", {key: _checked(path, named, *wanted) for key, wanted in FASTCHAT_NAMES.items()})


def comparison_messages(pair: AnswerPair, order: str, template: ComparisonTemplate) -> Messages:
    """Return the request that shows both answers in an order.

    Args:
        pair: The two answers.
        order: `REFERENCE_FIRST` or `MODEL_FIRST`.
        template: How they are shown.

    Raises:
        UserError: A user's template refuses these texts, or takes more than the limits.
    """
    answers = {REFERENCE_FIRST: pair.reference, MODEL_FIRST: pair.model}
    first = answers.pop(order)
    [second] = answers.values()
    text = _comparison(template, {"instruction": pair.instruction, "first": first, "second": second})
    return [{"role": "user", "content": text}]


def rubric_messages(grading: Grading, template: RubricTemplate) -> Messages:
    """Return the request that has an answer rated by a rubric, with the turns before it as part of the instruction.

    Raises:
        UserError: A user's template refuses these texts, or takes more than the limits.
    """
    before = [text for turn in zip(grading.questions, grading.answers, strict=True) for text in turn][:-2]
    instruction = with_turns_before(before, grading.questions[-1])
    text = _rubric(template, {"instruction": instruction, "response": grading.answers[-1]})
    return [{"role": "user", "content": text}]


def with_turns_before(before: Sequence[str], question: str) -> str:
    """Return a question with the turns before it, each under the name of who spoke; the question alone without any.

    Args:
        before: The earlier turns, the user's first.
        question: The last one.
    """
    if not before:
        return question
    names = ("User", "Assistant")
    return "\n\n".join(f"{names[place % 2]}: {text}" for place, text in enumerate([*before, question]))


def grading_messages(grading: Grading, templates: GradingTemplates) -> Messages:
    """Return the request that has the last answer of a conversation rated.

    Raises:
        UserError: FastChat's prompts are in use, which have two turns at most, and there are more.
    """
    if not templates.fastchat:
        text = compiled(templates.source).render(
            turn=grading.turn,
            questions=grading.questions,
            answers=grading.answers,
            references=grading.references,
        )
        return [{"role": "user", "content": text}]
    prompt = templates.fastchat.get((grading.turn, bool(grading.references)))
    if prompt is None:
        raise UserError(
            f"prompt {grading.prompt_id} has turn {grading.turn}, and FastChat's prompts have two at most",
            "use the built-in prompts",
        )
    # One pass over the prompt: braces in a question or an answer stay as they are.
    return [
        {"role": "system", "content": prompt.system},
        {"role": "user", "content": prompt.user.format(**_fields(grading))},
    ]


def _comparison(template: ComparisonTemplate, variables: dict[str, str]) -> str:
    if template.path is None:
        return compiled(template.source).render(**variables)
    return str(_asked(template.path, {"template": template.source, "variables": variables})["text"])


def _rubric(template: RubricTemplate, variables: dict[str, str]) -> str:
    if template.path is None:
        least, best = (f"{end:g}" for end in template.scale)
        return compiled(template.source).render(**variables, criterion=template.criterion, least=least, best=best)
    return str(_asked(template.path, {"template": template.source, "variables": variables})["text"])


def _users_template(path: Path, variables: frozenset[str]) -> str:
    """Return the text of a user's template, which must have these variables and no others."""
    source = _read(path, "judge.template")
    names = _asked(path, {"template": source})["names"]
    if names != sorted(variables):
        raise UserError(
            f"judge.template={path} has the variables {', '.join(names) or 'none'}",
            f"it must have {', '.join(sorted(variables))}, and no other",
        )
    return source


def _asked(path: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Return what comes of a user's template in the process that renders within limits."""
    found = ask(request)
    if "limit" in found:
        most = limit_in_words(found["limit"])
        raise UserError(f"judge.template={path} takes more than {most}", "write a template that ends")
    if "refused" in found:
        what = "cannot be rendered" if "variables" in request else "is no Jinja2 template"
        raise UserError(f"judge.template={path} {what}: {first_line(found['refused'])}")
    return found


@cache
def compiled(source: str) -> jinja2.Template:
    """Return a template of our own."""
    return _ENVIRONMENT.from_string(source)


def _fields(grading: Grading) -> dict[str, str]:
    fields = {"question": grading.questions[-1], "answer": grading.answers[-1]}
    for name, texts in (
        ("question", grading.questions),
        ("answer", grading.answers),
        ("ref_answer", grading.references),
    ):
        fields |= {f"{name}_{number}": text for number, text in enumerate(texts, 1)}
    return fields


def _checked(path: Path, named: dict[str, ChatPrompt], name: str, known: tuple[str, ...]) -> ChatPrompt:
    if name not in named:
        raise UserError(
            f"{path} has no prompt {name!r}", f"it must have {', '.join(n for n, _ in FASTCHAT_NAMES.values())}"
        )
    try:
        parsed = [(field, layout) for _, field, layout, _ in Formatter().parse(named[name].user) if field is not None]
    except ValueError as error:
        raise UserError(f"{path}: the prompt {name!r} is malformed: {error}", "double a brace that is meant") from None
    fields, layouts = {field for field, _ in parsed}, [layout for _, layout in parsed if layout]
    if layouts:  # a width may be of any size
        raise UserError(
            f"{path}: the prompt {name!r} lays a field out by ':{layouts[0][:20]}'", "write the field's name alone"
        )
    if not fields <= set(known):
        raise UserError(
            f"{path}: the prompt {name!r} has the unknown field {min(fields - set(known))!r}",
            f"known are {', '.join(known)}",
        )
    return named[name]


def _read(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{what}: {path} cannot be read ({type(error).__name__})", "give a text file in UTF-8"
        ) from None
