"""The plots that several sections draw."""

from __future__ import annotations

import pytest

from notus_exp.contracts.measured import MeasuredValue
from notus_exp.reporting.charts import bars


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.0), (0.4, 0.9), (0.0, 0.1)])
def test_an_interval_is_drawn_where_it_is_and_not_from_its_value(low: float, high: float) -> None:
    figure = bars({"x": MeasuredValue(value=0.2, low=low, high=high)}, "share", "#123456")
    (line,) = figure.axes[0].lines
    assert list(line.get_xdata()) == [low, high]
    assert figure.axes[0].patches[0].get_width() == 0.2  # type: ignore[attr-defined]


def test_what_is_not_known_is_no_bar_of_no_length() -> None:
    unknown, wide = MeasuredValue(value=None, low=None, high=None), MeasuredValue(value=0.7, low=None, high=None)
    axes = bars({"x": unknown, "y": wide}, "share", "#123456").axes[0]
    assert (len(axes.patches), len(axes.lines)) == (1, 0)
    assert [text.get_text() for text in axes.texts] == ["cannot be told", "0.70"]
