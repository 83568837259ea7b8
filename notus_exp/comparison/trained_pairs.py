"""Whether the arms of a study trained on equally many pairs, from what their runs recorded."""

from __future__ import annotations

from notus_exp.contracts.rounds_of_run import number_of_rounds, parsed_node
from notus_exp.contracts.run_file import RunFile, RunsBySeed


def unlike_pairs(runs: RunsBySeed) -> list[str]:
    """Return a sentence with the numbers where arms trained on unlike numbers of pairs; nothing where they did not.

    Arms that were given unlike `filters.max_pairs` are told apart by it, so each cap is looked at by itself.

    Args:
        runs: Arm -> seed -> run.json of the finished runs.
    """
    by_cap: dict[object, dict[str, list[int]]] = {}
    for arm, by_seed in runs.items():
        for run in by_seed.values():
            pairs = _trained_on(run)
            if pairs is not None:
                cap = run.get("config", {}).get("filters", {}).get("max_pairs")
                by_cap.setdefault(cap, {}).setdefault(arm, []).append(pairs)
    rounds = any(number_of_rounds(run) > 1 for by_seed in runs.values() for run in by_seed.values())
    found = []
    for sizes in by_cap.values():
        least, most = min(sizes, key=lambda arm: min(sizes[arm])), max(sizes, key=lambda arm: max(sizes[arm]))
        fewest, highest = min(sizes[least]), max(sizes[most])
        if fewest < highest:
            found.append(
                f"the arms trained on {fewest:,} ({least}) to {highest:,} ({most}) pairs, so a difference between them"
                f" may be one of size{'' if rounds else f': filters.max_pairs={fewest} makes them alike'}"
            )
    return found


def _trained_on(run: RunFile) -> int | None:
    """Return how many pairs a run trained on, in all of its rounds together; None where it does not say."""
    stages = [stage for name, stage in run["stages"].items() if parsed_node(name).name == "pairs"]
    counts = [stage["facts"].get("split/train") if "facts" in stage else None for stage in stages]
    known = [count for count in counts if isinstance(count, int)]
    return sum(known) if known and len(known) == len(counts) else None
