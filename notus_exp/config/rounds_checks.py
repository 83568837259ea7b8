"""Whether several rounds are what the rest of a config can give."""

from __future__ import annotations

from notus_exp.config.algorithms import needs_reference
from notus_exp.config.data_settings import MadeFeedback
from notus_exp.config.generation_settings import AskedGeneration
from notus_exp.config.made_settings import OWN_MODEL, own_writers
from notus_exp.config.rounds_settings import Rounds
from notus_exp.config.schema import Config, Stage, reaches
from notus_exp.errors import UserError


def check_rounds(config: Config) -> None:
    """Refuse several rounds of what has one, and settings of rounds that nothing reads.

    Raises:
        UserError: Naming the key, its value and the remedy.
    """
    rounds = config.rounds
    if rounds.number == 1:
        changed = [name for name in ("start", "reference", "writers") if _changed(rounds, name)]
        if changed:
            raise UserError(
                f"rounds.{changed[0]}={getattr(rounds, changed[0])} is of a second round, and there is one",
                f"write rounds=2, or leave rounds.{changed[0]} out",
            )
        return
    if not isinstance(config.data, MadeFeedback):
        raise UserError(
            f"rounds={rounds.number}: data={config.data.name} has its answers, and a later round has them written anew",
            "use data=made (docs/made.md), whose writers may be the run's own model",
        )
    if not own_writers(config.data):
        raise UserError(
            f"rounds={rounds.number}, and none of data.writers is the run's own model: later rounds would be of the "
            "same writers",
            f"add one to data.writers, as {OWN_MODEL}",
        )
    _check_reference(config)
    if isinstance(config.generation, AskedGeneration) and reaches(config.until, Stage.generations):
        raise UserError(
            f"rounds={rounds.number}, and generation={config.generation.name} asks for the policy of one round",
            "use generation=transformers, or stop with until=policy",
        )


def _changed(rounds: Rounds, name: str) -> bool:
    return bool(getattr(rounds, name) != getattr(Rounds(), name))


def _check_reference(config: Config) -> None:
    """Refuse a recipe that reads a reference which is not what it starts from, where it computes that itself."""
    rounds, dpo = config.rounds, config.dpo
    if not needs_reference(dpo):
        if _changed(rounds, "reference"):
            raise UserError(
                f"rounds.reference={rounds.reference} is not read: this recipe needs no reference",
                "leave it out, or choose another recipe, such as dpo=lora",
            )
        return
    if rounds.reference == rounds.start:
        return
    itself = {"dpo.algorithm=kto": dpo.algorithm == "kto", "dpo.ld_alpha": dpo.ld_alpha is not None}
    for key, asked in itself.items():
        if asked:
            raise UserError(
                f"rounds.reference={rounds.reference} is not rounds.start={rounds.start}, and {key} computes its "
                "reference with the model that it starts from",
                f"write rounds.reference={rounds.start}",
            )
