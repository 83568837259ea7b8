"""Arms are told apart by their markers, at the size at which these are drawn."""

from __future__ import annotations

import itertools
import re

import numpy as np
from matplotlib.path import Path
from numpy.typing import NDArray

from notus_exp.reporting.looks import Look, marker_path
from notus_exp.study.report.palette import looks

ALIKE = 0.65
"""Share of what either covers that two markers of about ten pixels cover both, from which on they look alike."""


def outline(marker: str) -> list[tuple[float, float]]:
    """The corners of a marker's path of straight lines; many of a circle."""
    if marker == "o":
        return [(4.4 * np.cos(turn), 4.4 * np.sin(turn)) for turn in np.linspace(0, 2 * np.pi, 60)]
    x, y, corners = 0.0, 0.0, []
    for letter, rest in re.findall(
        "([MLHVhv])([^A-Za-z]*)", str(marker_path(Look("#000000", marker, "-"))).split('"')[1]
    ):
        values = [float(one) for one in re.findall(r"-?\d*\.?\d+", rest)]
        for place in range(0, len(values), 2 if letter in "ML" else 1):
            if letter in "ML":
                x, y = values[place : place + 2]
            else:
                x = {"H": values[place], "h": x + values[place]}.get(letter, x)
                y = {"V": values[place], "v": y + values[place]}.get(letter, y)
            corners.append((x, y))
    return corners


def covered(marker: str) -> NDArray[np.bool_]:
    """Which of many points a marker covers."""
    places = np.arange(-7, 7, 0.1)
    return np.asarray(Path(outline(marker)).contains_points([(x, y) for y in places for x in places]))


def alike(one: str, two: str) -> bool:
    a, b = covered(one), covered(two)
    return bool((a & b).sum() > ALIKE * (a | b).sum())


def test_what_looks_alike_is_known() -> None:
    assert alike("o", "s")
    assert alike("o", "D")
    assert alike("s", "D")
    assert not alike("^", "v")


def test_arms_of_one_colour_have_markers_that_look_unlike() -> None:
    drawn = list(looks([f"arm {number}" for number in range(42)]).values())
    by_colour: dict[str, list[str]] = {}
    for look in drawn:
        by_colour.setdefault(look.colour, []).append(look.marker)
    for colour, markers in by_colour.items():
        for one, two in itertools.combinations(markers, 2):
            assert not alike(one, two), (colour, one, two)
