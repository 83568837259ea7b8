"""Stage `benchmarks`: academic benchmarks of base model and policy through lm-evaluation-harness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jinja2.exceptions import SecurityError
from jinja2.sandbox import SandboxedEnvironment

from notus_exp.disk import files
from notus_exp.disk.json_files import write_json
from notus_exp.errors import UserError, first_line
from notus_exp.evaluation.lm_eval.tasks import NOT_INSTALLED, task_manager
from notus_exp.models.pretrained import load_policy, load_tokenizer, policy_folders
from notus_exp.models.rendering import Message, render, render_open
from notus_exp.stages.context import Context
from notus_exp.stages.settings import BenchmarksSettings


def run(settings: BenchmarksSettings, inputs: dict[str, Path], out: Path, context: Context) -> dict[str, Any]:
    """Run the tasks and write `benchmarks.json`: the harness's results, and each question's values.

    The file holds {"results": {task: {metric: {"value", "stderr", "n"}}},
    "questions": {task: {metric: {id: value}}}}, where a metric filtered in another way than "none" is metric/filter.

    Args:
        settings: The tasks and how they are asked.
        inputs: Artifacts `base_model` and, for a policy, `policy`.
        out: Folder of the artifact.
        context: Device and batch size; `sources["lm_eval.include_path"]` is the folder of own task files.

    Returns:
        Facts: tasks, questions.

    Raises:
        UserError: The harness is not installed, a task is unknown or names code, or its data cannot be had.
    """
    try:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
    except ImportError as error:
        raise UserError(*NOT_INSTALLED) from error
    asked = settings.lm_eval
    manager = task_manager(asked.tasks, context.sources.get("lm_eval.include_path", []))
    base, adapter = policy_folders(inputs["base_model"], inputs.get("policy"))
    model = load_policy(base, adapter, settings.precision, context.hardware)
    harness = _chatting(HFLM, settings.template_date)(
        pretrained=model, tokenizer=load_tokenizer(base), batch_size=context.hardware.scoring_batch_size, device=None
    )
    context.events.progress(0, 1)
    try:
        with _sandboxed():
            found = simple_evaluate(model=harness, task_manager=manager, **_settings(settings))
    except SecurityError as error:
        raise UserError(f"evaluation=lm_eval: a task's template reaches for code: {error}") from error
    except (OSError, ConnectionError) as error:
        hint = "go online once (the hub's cache is kept), or give task files with local data (lm_eval.include_path)"
        raise UserError(f"evaluation=lm_eval: the data of a task cannot be had: {first_line(error)}", hint) from error
    context.events.progress(1, 1)
    content = {"results": _results(found), "questions": _questions(found.get("samples", {}))}
    write_json(out / files.BENCHMARKS, content)
    return {
        "tasks": len(content["results"]),
        "questions": sum(found["n-samples"][t]["effective"] for t in found["n-samples"]),
    }


def _chatting(harness: type[Any], date: str | None) -> type[Any]:
    """Return the harness's model with chat templates rendered as everywhere: within limits, and with a given date.

    Its own leaves the system turn out where a template refuses it; here that is an error.
    """

    class Chatting(harness):  # type: ignore[misc]
        def apply_chat_template(self, chat_history: list[Message], add_generation_prompt: bool = True) -> str:
            given = getattr(self, "chat_template_args", {})
            if add_generation_prompt:
                return render(self.tokenizer, chat_history, add_generation_prompt=True, date=date, **given)
            return render_open(self.tokenizer, chat_history, date=date, **given)

    return Chatting


def _settings(settings: BenchmarksSettings) -> dict[str, Any]:
    """Return the harness's arguments that the config decides."""
    asked = settings.lm_eval
    seeds = ("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed")
    return {
        "tasks": list(asked.tasks),
        "num_fewshot": asked.num_fewshot,
        "limit": asked.limit,
        "system_instruction": settings.system_prompt or None if asked.chat_template else None,
        "apply_chat_template": asked.chat_template,
        **dict.fromkeys(seeds, asked.seed),
    }


@contextmanager
def _sandboxed() -> Iterator[None]:
    """Let the harness render templates in Jinja's sandbox: a template must not reach Python's own attributes."""
    from lm_eval import utils

    free = utils.env
    utils.env = SandboxedEnvironment(
        loader=free.loader, undefined=free.undefined, keep_trailing_newline=free.keep_trailing_newline
    )
    utils.env.filters.update(free.filters)
    try:
        yield
    finally:
        utils.env = free


def _results(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return task -> metric -> value, standard error and number of questions."""
    results: dict[str, dict[str, Any]] = {}
    for task, metrics in found["results"].items():
        n = found["n-samples"].get(task, {}).get("effective")
        for name, value in metrics.items():
            metric, _, filtered = name.partition(",")
            if not filtered or metric.endswith("_stderr") or not isinstance(value, int | float):
                continue
            stderr = metrics.get(f"{metric}_stderr,{filtered}")
            row = {"value": float(value), "stderr": stderr if isinstance(stderr, int | float) else None, "n": n}
            results.setdefault(task, {})[_named(metric, filtered)] = row
    return results


def _questions(samples: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Return task -> metric -> question's number -> value, for metrics that are a number per question."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task, rows in samples.items():
        for row in rows:
            for metric in row.get("metrics", []):
                value = row.get(metric)
                if isinstance(value, int | float):
                    by_question = found.setdefault(task, {}).setdefault(_named(metric, row.get("filter", "none")), {})
                    by_question[str(row["doc_id"])] = float(value)
    return found


def _named(metric: str, filtered: str) -> str:
    return metric if filtered == "none" else f"{metric}/{filtered}"
