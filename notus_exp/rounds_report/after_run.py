"""What a run of several rounds tells at its end: its rounds side by side, and where their page is."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from notus_exp.contracts.run_file import read_run_file
from notus_exp.disk.files import ROUNDS_HTML, RUN_JSON
from notus_exp.errors import UserError, first_line
from notus_exp.frames.run_data import RunData
from notus_exp.reporting.console import say, shorten
from notus_exp.reporting.tables import print_table
from notus_exp.rounds_report.each_round import each_round
from notus_exp.rounds_report.rounds_page import write_rounds
from notus_exp.rounds_report.rounds_told import rounds_report


def tell_rounds(folder: Path, console: Console, *, brief: bool) -> None:
    """Write the page of a finished run's rounds, and show its tables; what fails is said, and the run stays finished.

    Args:
        folder: The run's.
        console: Where it is shown.
        brief: Whether the page alone is written: a study tells of its runs.
    """
    run = RunData(folder, read_run_file(folder / RUN_JSON))
    try:
        rounds = each_round(run)
        page = write_rounds(run, rounds)
        if not brief:
            for table in rounds_report(run, rounds).tables:
                print_table(table, console)
            say(console, f"rounds: {shorten(page)}")
    except (UserError, OSError) as error:
        say(console, f"{shorten(folder / ROUNDS_HTML)} is not written: {first_line(error)}")
