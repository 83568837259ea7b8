"""Section of an Optuna search: the best trials, how the search went, what each parameter does, every trial."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from notus_exp.contracts.study_file import CANNOT_TELL, SearchSummary, TrialRecord
from notus_exp.reporting.charts import bars, legend, plain_log
from notus_exp.reporting.figures import COLOURS, NARROW, WIDTH, inline
from notus_exp.reporting.looks import INK
from notus_exp.reporting.tables import with_span
from notus_exp.reporting.texts import label
from notus_exp.study.report.headline import Headline
from notus_exp.study.report.material import Material, Section
from notus_exp.study.report.numbers import number, p_of, span_of, with_unit
from notus_exp.study.search.trial_words import covered, ended, remark_of

POINT, BEST, OUTSIDE = COLOURS[0], COLOURS[1], COLOURS[3]
"""Colours of a trial, of the best ones, and of those that break a constraint."""
WIDE = 20.0
"""A parameter whose tried values span a larger factor is drawn on a logarithmic axis."""
_TITLE = "The search"
WITHOUT = {"pruned": ("|", COLOURS[2]), "failed": ("x", COLOURS[4])}
"""Marker and colour of trials without a value: they stand at the lower edge of a plot."""
WORTH_OF_BEST = (
    "It was picked by that value, so it looks better than it is: compare it with a baseline, as arms of a study of"
    " their own, with new seeds, on test prompts."
)
"""What is to be known of the best trials."""


class ShownTrial(TypedDict):
    """A trial of the table: as `TrialRecord`, its numbers as texts; `best` and `notes` are remarks, "" for none."""

    number: int
    state: str
    params: dict[str, str]
    values: dict[str, str]
    constraints: dict[str, str]
    seeds: int
    runs: dict[str, str]
    best: str
    notes: str


def search(material: Material) -> Section:
    """Return the section of a search; left out for other studies."""
    if material.study["kind"] != "search":
        return Section("search", _TITLE, None)
    found = material.comparison.get("search")
    if found is None:  # a comparison.json of before
        from notus_exp.study.search.summary import summary  # imports optuna, which no other study needs

        found = summary(material.folder)
    return from_summary(found)


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
        "best": [_shown(trial, found) for trial in trials if trial["number"] in best],
        "trials": [_shown(trial, found) for trial in trials],
        "said": found.get("said", []),
        "ended": ended(trials),
        "covered": covered(max((trial["seeds"] for trial in trials), default=0)),
        "remarked": any(
            trial["reason"] or trial["repeats"] is not None or trial["feasible"] is False for trial in trials
        ),
        "command": found["command"],
        "importances": _importances(found),
        "importances_note": found["importances_note"],
        "history": _histories(found, trials, best),
        "by_parameter": [
            _by_parameter(found, param, objectives, best, f"by_parameter{place}") for place, param in enumerate(params)
        ],
        "front": _front(trials, objectives, best) if len(objectives) == 2 and _valued(trials, objectives) else None,
    }
    return Section("search", _TITLE, content)


def _found(content: Mapping[str, Any]) -> str:
    complete, asked = content["states"].get("complete", 0), sum(content["states"].values())
    trials = f"{complete} complete {'trial' if complete == 1 else 'trials'}"
    if complete < asked:
        trials = f"{complete} complete of {asked} trials"
    best, objectives = content["best"], list(content["objectives"])
    if not best:
        return (
            f"No best trial yet: of {trials} none keeps the constraints." if complete else "No trial is complete yet."
        )
    if len(objectives) > 1:
        return f"{len(best)} of {trials} are beaten by none in {' and '.join(objectives)} together."
    settings = ", ".join(f"{name}={value}" for name, value in best[0]["params"].items())
    reached = f"{best[0]['values'][objectives[0]]} in {objectives[0]}"
    if len(best) > 1:
        many = f"{len(best)} of {trials}" if len(best) < complete else f"All {trials}"
        return f"{many} tie at {reached}; the first of them: {settings}."
    return f"The best of {trials} reached {reached}: {settings}."


def _shown(trial: TrialRecord, found: SearchSummary) -> ShownTrial:
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
        "best": remark_of(found, trial["number"]),
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


def _dots(axes: Axes, trials: Sequence[TrialRecord], xs: Sequence[Any], ys: Sequence[float], best: set[int]) -> None:
    """Draw trials, each kind with a colour and a marker, named once."""
    kinds = {POINT: ("trial", "o", 5.0), OUTSIDE: ("breaks a constraint", "x", 6.0), BEST: ("best", "*", 11.0)}
    for colour, (name, marker, size) in kinds.items():
        places = [place for place, trial in enumerate(trials) if _colour(trial, best) == colour]
        if places:
            own = ([xs[place] for place in places], [ys[place] for place in places])
            axes.plot(*own, marker, color=colour, markersize=size, linestyle="none", label=name)


def mark_without_value(axes: Axes, trials: Sequence[TrialRecord], xs: Sequence[Any]) -> None:
    """Mark pruned and failed trials at the lower edge: they were tried, and have no height."""
    for state, (marker, colour) in WITHOUT.items():
        own = [x for trial, x in zip(trials, xs, strict=True) if trial["state"] == state]
        if own:
            low = [0.02] * len(own)
            axes.plot(
                own, low, marker, color=colour, markersize=7, linestyle="none", label=f"{state}, without a value",
                transform=axes.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip


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
        mark_without_value(axes, trials, [trial["number"] for trial in trials])
        axes.set_xlabel("trial")
        axes.set_ylabel(with_unit(name))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        legend(axes)
        figures.append(inline(figure, f"history{place}", f"{name} by trial, to {direction}"))
    return figures


def _by_parameter(
    found: SearchSummary, param: str, objectives: Sequence[str], best: set[int], name: str
) -> Markup | None:
    """Draw the objectives against a parameter, over the trials that have it; choices stand evenly, in their order."""
    having = [trial for trial in found["trials"] if param in trial["params"]]
    shown = _valued(having, objectives)
    if not shown:
        return None
    figure = Figure(figsize=(NARROW, 2.4 * len(objectives)))
    panels = figure.subplots(len(objectives), 1, sharex=True, squeeze=False)[:, 0]
    options = options_of(found, param)
    tried = {trial["number"]: trial["params"][param] for trial in having}
    places = {number: options.index(str(value)) if options else value for number, value in tried.items()}
    lost = [trial for trial in having if trial["state"] in WITHOUT]
    for axes, objective in zip(panels, objectives, strict=True):
        _dots(axes, shown, [places[trial["number"]] for trial in shown], _values(shown, objective), best)
        mark_without_value(axes, lost, [places[trial["number"]] for trial in lost])
        axes.set_ylabel(label(objective))
        axes.grid(alpha=0.25)
    last, numbers = panels[-1], list(tried.values())
    if options:
        last.set_xticks(range(len(options)), [label(option, 20) for option in options])
        last.set_xlim(-0.5, len(options) - 0.5)
    elif min(numbers) > 0 and max(numbers) / min(numbers) > WIDE:
        plain_log(last, "x")
    elif len(set(numbers)) == 1:
        last.set_xticks([numbers[0]])
    last.set_xlabel(label(param, 60))
    return inline(figure, name, f"{', '.join(objectives)} by {param}")


def options_of(found: SearchSummary, param: str) -> list[str]:
    """Return a parameter's choices as texts, in their order: those of its space, and others that were tried.

    Numbers of a range are no choices: none then.
    """
    tried = [trial["params"][param] for trial in found["trials"] if param in trial["params"]]
    choices = found["parameters"].get(param, {}).get("choices")
    if choices is None and all(isinstance(value, int | float) and not isinstance(value, bool) for value in tried):
        return []
    left = sorted({str(value) for value in tried} - {str(choice) for choice in choices or []})
    return [*(str(choice) for choice in choices or []), *left]


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


def _importances(found: SearchSummary) -> list[tuple[str, Markup, list[tuple[str, str, str]]]]:
    """Return each objective with its bars, and of each setting its p and what can be said of it."""
    drawn = []
    for place, (objective, rows) in enumerate(found["importances"].items()):
        words = f"Importance for {objective}: " + "; ".join(
            f"{name} {with_span(row) if row['value'] is not None else CANNOT_TELL}" for name, row in rows.items()
        )
        figure = bars(rows, "share of what sets the better half of the trials apart (PED-ANOVA)", POINT)
        said = [(name, p_of(row["holm"]), row["reason"] or row["verdict"]) for name, row in rows.items()]
        drawn.append((objective, inline(figure, f"importance{place}", words), said))
    return drawn
