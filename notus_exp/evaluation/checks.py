"""What a config must say of its evaluations: prompts of the split that is measured on, who answers, who judges."""

from __future__ import annotations

from notus_exp.config.generation_settings import AskedGeneration, ServedGeneration
from notus_exp.config.judge_checks import check_judge
from notus_exp.config.schema import Config, EvaluationSplit, Stage, reaches
from notus_exp.errors import UserError
from notus_exp.evaluation.catalogue import chosen, held_out, judged


def check_evaluations(config: Config) -> None:
    """Check what an evaluation needs of the rest of a loaded config.

    Raises:
        UserError: Naming the keys and the remedy.
    """
    evaluation = config.evaluation
    if config.until is Stage.evaluation and not chosen(config.evaluation):
        raise UserError("evaluation=[] leaves nothing to evaluate", "choose evaluations, or stop with until=policy")
    _check_evaluation_split(config)
    _check_answers(config)
    if evaluation.verifiable and evaluation.verifiable.kl_prompts > evaluation.verifiable.prompts:
        raise UserError(
            f"evaluation.verifiable.kl_prompts={evaluation.verifiable.kl_prompts} exceeds "
            f"evaluation.verifiable.prompts={evaluation.verifiable.prompts}"
        )


def _check_evaluation_split(config: Config) -> None:
    """Check that each evaluation has prompts of the split that is measured on."""
    split = config.evaluation_split.name
    fixed = [spec.name for spec in chosen(config.evaluation) if not spec.held_out]
    if config.evaluation_split is EvaluationSplit.validation and fixed:
        raise UserError(
            f"evaluation_split=validation: evaluation=[{','.join(fixed)}] has fixed prompts and none for validation",
            f"choose among 'evaluation=[{','.join(held_out())}]', or evaluation_split=test",
        )
    scored = reaches(config.until, Stage.likelihoods)
    if config.evaluation.preferences and getattr(config.split, split) == 0 and scored:
        raise UserError(
            f"evaluation=preferences needs {split} prompts, but split.{split}=0",
            f"give split.{split} a share, or choose 'evaluation=[verifiable]'",
        )


def _check_answers(config: Config) -> None:
    """Check who answers and who judges, where an evaluation asks for it."""
    evaluation = config.evaluation
    asked = isinstance(config.generation, AskedGeneration)
    if asked and evaluation.verifiable and evaluation.verifiable.kl_prompts:
        raise UserError(
            f"evaluation.verifiable.kl_prompts={evaluation.verifiable.kl_prompts} needs token ids, which "
            f"generation={config.generation.name} does not know",
            "set evaluation.verifiable.kl_prompts=0",
        )
    if isinstance(config.generation, ServedGeneration) and config.model.template_date is not None:
        raise UserError(
            f"model.template_date={config.model.template_date}, and a server renders the template with the day's date",
            "use generation=transformers, or a model whose template writes no date",
        )
    if evaluation.lm_eval and not evaluation.lm_eval.tasks:
        raise UserError("evaluation.lm_eval.tasks is empty", "name tasks, such as evaluation.lm_eval.tasks=[hellaswag]")
    wanting = judged(evaluation)
    if wanting and reaches(config.until, Stage.judgments):
        check_judge(config.judge, wanting[0].name)
