"""Section of an Optuna search: the best trials, how the search went, what each parameter does, every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.contracts.study_file import SearchSummary, TrialRecord
from notus_exp.reporting.charts import bars, legend, plain_log
from notus_exp.reporting.figures import COLOURS, NARROW, WIDTH, inline
from notus_exp.reporting.looks import INK
from notus_exp.reporting.tables import with_span
from notus_exp.reporting.texts import label
from notus_exp.study.report.headline import Headline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import number, span_of, with_unit

POINT, BEST, OUTSIDE = COLOURS[0], COLOURS[1], COLOURS[3]
"""Colours of a trial, of the best ones, and of those that break a constraint."""
WIDE = 20.0
"""A parameter whose tried values span a larger factor is drawn on a logarithmic axis."""
_TITLE = "The search"
WORTH_OF_BEST = (
    "It was picked by that value, so it looks better than it is: compare it with a baseline, as arms of a study of"
    " their own, with new seeds, on test prompts."
)
"""What is to be known of the best trials."""


class ShownTrial(TypedDict):
    """A trial of the table: as `TrialRecord`, its numbers as texts; `best` and `notes` are remarks."""

    number: int
    state: str
    params: dict[str, str]
    values: dict[str, str]
    constraints: dict[str, str]
    seeds: int
    runs: dict[str, str]
    best: bool
    notes: str


def search(material: Material) -> Section:
    """Return the section of a search; left out for other studies."""
    if material.study["kind"] != "search":
        return Section("search", _TITLE, None)
    from notus_exp.study.search.summary import summary  # type: ignore  # imports optuna, which no other study needs

    return from_summary(summary(material.folder))


def search_headline(sections: Sequence[Section]) -> Headline | None:
    """Return what the search found in one sentence, and what that is worth; None where the study is no search."""
    content = next((section.content for section in sections if section.name == "search"), None)
    if content is None:
        return None
    return Headline(_found(content), [WORTH_OF_BEST])


def from_summary(found: SearchSummary) -> Section:
    """Return the section of what `study.search.summary.summary` tells."""
    trials = found["trials"]
    if not trials:
        return Section("search", _TITLE, None, "No trial has been started yet.")
    best = set(found["best"])
    objectives = list(found["objectives"])
    params = list(dict.fromkeys(name for trial in trials for name in trial["params"]))
    constraints = list(dict.fromkeys(name for trial in trials for name in trial["constraints"]))
    states = [trial["state"] for trial in trials]
    content = {
        "objectives": found["objectives"],
        "params": params,
        "constraints": constraints,
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "best": [_shown(trial, best) for trial in trials if trial["number"] in best],
        "trials": [_shown(trial, best) for trial in trials],
        "said": found.get("said", []),
        "ties": _ties(found),
        "remarked": any(
            trial["reason"] or trial["repeats"] is not None or trial["feasible"] is False for trial in trials
        ),
        "command": found["command"],
        "importances": _importances(found),
        "importances_note": found["importances_note"],
        "history": _histories(found, trials, best),
        "by_parameter": [
            _by_parameter(trials, param, objectives, best, f"by_parameter{place}") for place, param in enumerate(params)
        ],
        "front": _front(trials, objectives, best) if len(objectives) == 2 and _valued(trials, objectives) else None,
    }
    return Section("search", _TITLE, content)


def _found(content: Mapping[str, Any]) -> str:
    complete = content["states"].get("complete", 0)
    trials = f"{complete} complete {'trial' if complete == 1 else 'trials'}"
    best, objectives = content["best"], list(content["objectives"])
    if not best:
        return (
            f"No best trial yet: of {trials} none keeps the constraints." if complete else "No trial is complete yet."
        )
    if len(objectives) > 1:
        return f"{len(best)} of {trials} are beaten by none in {' and '.join(objectives)} together."
    settings = ", ".join(f"{name}={value}" for name, value in best[0]["params"].items())
    reached = f"{best[0]['values'][objectives[0]]} in {objectives[0]}"
    if content["ties"] > 1:
        return f"{content['ties']} of {trials} tie at {reached}; the first of them: {settings}."
    return f"The best of {trials} reached {reached}: {settings}."


def _ties(found: SearchSummary) -> int:
    """Return how many trials that keep the constraints have the value of the best one, where one objective decides."""
    [objective, *others] = found["objectives"]
    values = {
        trial["number"]: trial["values"].get(objective) for trial in found["trials"] if trial["feasible"] is not False
    }
    best = values.get(found["best"][0]) if found["best"] and not others else None
    return 0 if best is None else list(values.values()).count(best)


def _shown(trial: TrialRecord, best: set[int]) -> ShownTrial:
    notes = [trial["reason"]] if trial["reason"] else []
    if trial["feasible"] is False:
        notes.append("breaks a constraint")
    if trial["repeats"] is not None:
        notes.append(f"the same parameters as trial {trial['repeats']}")
    return {
        "number": trial["number"],
        "state": trial["state"],
        "params": _texts(trial["params"]),
        "values": _with_intervals(trial),
        "constraints": _texts(trial["constraints"]),
        "seeds": trial["seeds"],
        "runs": trial["runs"],
        "best": trial["number"] in best,
        "notes": "; ".join(notes),
    }


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {
        name: number(value) if value is None or isinstance(value, float) else str(value)
        for name, value in values.items()
    }


def _with_intervals(trial: TrialRecord) -> dict[str, str]:
    """Return the objectives' values, each with its interval where it has one."""
    known = trial.get("intervals", {})
    spans = {name: f" [{span_of(known[name])}]" if name in known else "" for name in trial["values"]}
    return {name: text + spans[name] for name, text in _texts(trial["values"]).items()}


def _valued(trials: Sequence[TrialRecord], objectives: Sequence[str]) -> list[TrialRecord]:
    return [trial for trial in trials if all(trial["values"].get(name) is not None for name in objectives)]


def _values(trials: Sequence[TrialRecord], objective: str) -> list[float]:
    """Return the values of trials that all have one."""
    return [value for trial in trials if (value := trial["values"][objective]) is not None]


def _colour(trial: TrialRecord, best: set[int]) -> str:
    return BEST if trial["number"] in best else OUTSIDE if trial["feasible"] is False else POINT


def _dots(axes: Any, trials: Sequence[TrialRecord], xs: Sequence[Any], ys: Sequence[float], best: set[int]) -> None:
    """Draw trials, each kind with a colour and a marker, named once."""
    kinds = {POINT: ("trial", "o", 5.0), OUTSIDE: ("breaks a constraint", "x", 6.0), BEST: ("best", "*", 11.0)}
    for colour, (name, marker, size) in kinds.items():
        places = [place for place, trial in enumerate(trials) if _colour(trial, best) == colour]
        if places:
            own = ([xs[place] for place in places], [ys[place] for place in places])
            axes.plot(*own, marker, color=colour, markersize=size, linestyle="none", label=name)


def _histories(found: SearchSummary, trials: Sequence[TrialRecord], best: set[int]) -> list[Markup]:
    figures = []
    for place, (name, direction) in enumerate(found["objectives"].items()):
        shown = _valued(trials, [name])
        if not shown:
            continue
        figure = Figure(figsize=(NARROW, 2.9))
        axes = figure.subplots()
        _dots(axes, shown, [trial["number"] for trial in shown], _values(shown, name), best)
        good = [trial for trial in shown if trial["feasible"] is not False]
        if good and len(found["objectives"]) == 1:
            running = np.maximum if direction == "maximize" else np.minimum
            steps = running.accumulate(_values(good, name))
            axes.step(
                [trial["number"] for trial in good], steps, where="post", color=INK, linewidth=1, label="best so far"
            )
        axes.set_xlabel("trial")
        axes.set_ylabel(with_unit(name))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        legend(axes)
        figures.append(inline(figure, f"history{place}", f"{name} by trial, to {direction}"))
    return figures


def _by_parameter(
    trials: Sequence[TrialRecord], param: str, objectives: Sequence[str], best: set[int], name: str
) -> Markup | None:
    """Draw the objectives against a parameter, over the trials that have it and are complete."""
    shown = [trial for trial in _valued(trials, objectives) if param in trial["params"]]
    if not shown:
        return None
    figure = Figure(figsize=(NARROW, 2.4 * len(objectives)))
    panels = figure.subplots(len(objectives), 1, sharex=True, squeeze=False)[:, 0]
    tried = [trial["params"][param] for trial in shown]
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in tried)
    options = sorted({str(value) for value in tried})
    places = tried if numeric else [options.index(str(value)) for value in tried]
    for axes, objective in zip(panels, objectives, strict=True):
        _dots(axes, shown, places, _values(shown, objective), best)
        axes.set_ylabel(label(objective))
        axes.grid(alpha=0.25)
    last = panels[-1]
    if not numeric:
        last.set_xticks(range(len(options)), [label(option, 20) for option in options])
        last.set_xlim(-0.5, len(options) - 0.5)
    elif min(tried) > 0 and max(tried) / min(tried) > WIDE:
        plain_log(last, "x")
    last.set_xlabel(label(param, 60))
    return inline(figure, name, f"{', '.join(objectives)} by {param}")


def _front(trials: Sequence[TrialRecord], objectives: Sequence[str], best: set[int]) -> Markup:
    """Draw two objectives against each other; the best trials are those that no other beats in both."""
    shown = _valued(trials, objectives)
    figure = Figure(figsize=(WIDTH, 3.8))
    axes = figure.subplots()
    first, second = objectives
    _dots(axes, shown, _values(shown, first), _values(shown, second), best)
    axes.set_xlabel(with_unit(first))
    axes.set_ylabel(with_unit(second))
    axes.grid(alpha=0.25)
    legend(axes)
    return inline(figure, "front", f"{second} against {first} of every complete trial")


def _importances(found: SearchSummary) -> list[tuple[str, Markup]]:
    drawn = []
    for place, (objective, shares) in enumerate(found["importances"].items()):
        if shares:
            known = found.get("importance_intervals", {}).get(objective, {})
            ordered = {
                name: known.get(name) or MeasuredValue(value=share, low=None, high=None)
                for name, share in sorted(shares.items(), key=lambda item: -item[1])
            }
            words = f"Importance for {objective}: " + "; ".join(
                f"{name} {with_span(share)}" for name, share in ordered.items()
            )
            figure = bars(ordered, "importance (share of the variation explained)", POINT)
            drawn.append((objective, inline(figure, f"importance{place}", words)))
    return drawn
