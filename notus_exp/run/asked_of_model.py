"""What a run asks of its model and its texts, said before anything is computed."""

from __future__ import annotations

from notus_exp.config.generation_settings import EndpointGeneration
from notus_exp.config.made_items import named_writer
from notus_exp.config.made_settings import writers_of
from notus_exp.config.schema import Config, Stage, reaches
from notus_exp.config.sft_settings import SftTraining
from notus_exp.evaluation.catalogue import answering
from notus_exp.stages.context import Requirements


def requirements(config: Config) -> Requirements:
    """Return what a config asks of its model and texts before anything is computed: only what `until` reaches."""
    dpo, asked = config.dpo, Requirements()
    if reaches(config.until, Stage.policy):
        asked.max_truncated = dpo.max_truncated
        asked.special_tokens = dpo.special_tokens.name
        asked.target_modules = list(dpo.lora.target_modules) if dpo.lora.r > 0 else []
    if isinstance(config.sft, SftTraining) and reaches(config.until, Stage.sft):
        asked.sft_max_truncated = config.sft.max_truncated
    if reaches(config.until, Stage.generations) and not isinstance(config.generation, EndpointGeneration):
        asked.new_tokens = {
            f"evaluation.{spec.name}.max_new_tokens": getattr(config.evaluation, spec.name).max_new_tokens
            for spec in answering(config.evaluation)
        }
    asked.new_tokens |= {
        f"{named_writer(number)}.max_new_tokens": writer.max_new_tokens
        for number, writer in enumerate(writers_of(config.data).values())
        if writer.is_own
    }
    return asked
