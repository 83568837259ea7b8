"""Whether the arms of a study train on equally many pairs, asked once all are curated and before any is trained."""

from __future__ import annotations

from collections.abc import Sequence

from notus_exp.config.schema import Stage
from notus_exp.errors import UserError
from notus_exp.study.launching.planned import Planned


def unlike_sizes(planned: Sequence[Planned], *, complete: bool = False) -> UserError | None:
    """Return what says that arms have not equally many training pairs, with the smallest; None where they have.

    Pairs are counted as they are, whatever they weigh in the loss.

    Args:
        planned: The runs, of all arms and seeds.
        complete: Whether nothing is said while a run's pairs are not made; otherwise such runs are passed over.
    """
    sizes = {(one.arm, one.seed): _training_pairs(one) for one in planned}
    known = {of: size for of, size in sizes.items() if size is not None}
    if len({*known.values()}) < 2 or (complete and len(known) < len(sizes)):
        return None
    least, most = min(known, key=lambda of: known[of]), max(known, key=lambda of: known[of])
    remedy = f"filters.max_pairs={known[least]} makes them alike"
    if len({one.run.config.filters.max_pairs for one in planned}) > 1:
        remedy = f"give no arm a filters.max_pairs of its own, and all filters.max_pairs={known[least]}"
    return UserError(
        f"the arms have not equally many training pairs: '{least[0]}' has the fewest, {known[least]:,}"
        f" (seed {least[1]}), and '{most[0]}' the most, {known[most]:,}; study.match_size=true compares equal sizes",
        f"{remedy}; study.match_size=false compares unlike sizes",
    )


def _training_pairs(one: Planned) -> int | None:
    """Return how many training pairs a run has; None where its pairs are not made, or are no part of it.

    Of several rounds it is those of the first: the others are not there before it was trained on.
    """
    nodes = [node for node in one.run.nodes if node.stage is Stage.pairs]
    made = one.run.store.find(nodes[0].wanted) if nodes else None
    count = made.facts.get("split/train") if made else None
    return count if isinstance(count, int) else None
