"""Plots: within a page they load nothing and say what they show; as files they are the same bytes each time."""

from __future__ import annotations

import subprocess
import sys

import matplotlib
import pytest
from matplotlib.figure import Figure

from notus_exp.reporting.figures import COLOURS, inline, style, to_bytes
from notus_exp.reporting.texts import cut, label
from support.pages import Page

EVIL = '<script>alert("1")</script> $x^2$ \x00'


def drawn() -> Figure:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], "o", label=label(EVIL))
    axes.legend()
    return figure


def test_within_a_page_a_plot_has_ids_of_its_own_and_words_and_no_address() -> None:
    with style():
        html = inline(drawn(), "one", f"what {EVIL} shows") + inline(drawn(), "two", "the same")
    page = Page(html)
    assert page.wrong == []
    assert page.tags.count("svg") == 2
    assert "script" not in page.tags
    assert len(page.ids) == len(set(page.ids))
    assert all(name.startswith(("one-", "two-")) for name in page.ids)
    words = [value for tag, name, value in page.attributes if (tag, name) == ("svg", "aria-label")]
    assert words == [f"what {EVIL} shows".replace("\x00", "\N{SYMBOL FOR NULL}"), "the same"]
    assert not [value for _, _, value in page.attributes if "//" in value]
    assert COLOURS[0] in html


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_a_picture_file_is_the_same_bytes_in_another_process(kind: str) -> None:
    code = (
        "import sys\n"
        "from matplotlib.figure import Figure\n"
        "from notus_exp.reporting.figures import style, to_bytes\n"
        "with style():\n"
        "    figure = Figure()\n"
        "    figure.subplots().plot([0, 1], 'o')\n"
        f"    sys.stdout.buffer.write(to_bytes(figure, {kind!r}))\n"
    )
    first, second = (
        subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, timeout=120).stdout
        for _ in range(2)
    )
    assert first == second
    assert b"matplotlib.org" not in first


def test_the_style_ends_with_its_block() -> None:
    before = dict(matplotlib.rcParams)
    with style():
        inline(drawn(), "one", "words")
        to_bytes(drawn(), "png")
    assert dict(matplotlib.rcParams) == before


def test_a_text_is_cut_where_it_is_too_long() -> None:
    assert cut("twelve words", 12) == "twelve words"
    assert cut("twelve words", 8) == "twelve…"
