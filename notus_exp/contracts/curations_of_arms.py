"""What the arms of a study train on, as comparison.json has it: their pairs, and what they have in common."""

from __future__ import annotations

from typing import TypedDict

from notus_exp.contracts.measured import MeasuredValue


class CurationEstimate(MeasuredValue):
    """A share or a mean over training pairs; its 95 % interval takes pairs of a prompt together.

    Attributes:
        prompts: Prompts behind it.
    """

    prompts: int


class PairAgreement(CurationEstimate):
    """How often a labelling prefers the chosen side: the share of the pairs on which it prefers a side.

    Attributes:
        decided: Pairs of which it prefers a side.
        ties: Pairs of which it scores both alike.
        unscored: Pairs of which it does not score both.
    """

    decided: int
    ties: int
    unscored: int


class ArmCuration(TypedDict):
    """The pairs that an arm trains on, and what they have in common with the baseline's.

    Attributes:
        arm: Its name.
        pairs: Training pairs.
        prompts: Prompts that they are of.
        common: Share of its pairs that the baseline trains on too: the same prompt and two texts, on whichever side.
        same_side: Of those the share of which both choose the same text.
        same_chosen: Of the prompts that both train on the share of which both choose the same text.
        longer: Mean length of the chosen minus the rejected text, in characters.
        length: Mean length of the chosen text, in characters.
        length_difference: That minus the baseline's, over the prompts of either.
        agreement: Labelling -> how often it prefers the chosen side; empty where the feedback is gone.
    """

    arm: str
    pairs: int
    prompts: int
    common: CurationEstimate
    same_side: CurationEstimate
    same_chosen: CurationEstimate
    longer: CurationEstimate
    length: CurationEstimate
    length_difference: CurationEstimate
    agreement: dict[str, PairAgreement]


class CurationsTable(TypedDict):
    """What the arms train on.

    Attributes:
        seed: The runs' whose pairs these are: the lowest that all arms have.
        arms: Those that have pairs, in the study's order.
        common: A row and a column an arm: the share of the row's pairs that the column's arm trains on too. Empty of
            more than 50 arms.
    """

    seed: int
    arms: list[ArmCuration]
    common: list[list[float]]
