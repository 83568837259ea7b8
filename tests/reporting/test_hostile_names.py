"""Names and texts of anybody: neither markup nor a command of the terminal, on any page or stream."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus_exp import artifacts, compare, power, runs, score
from notus_exp.config.commandline import quoted
from notus_exp.curation.page import render, summarise
from notus_exp.curation.pairs import curate
from notus_exp.disk.files import PAIRS
from notus_exp.errors import UserError
from notus_exp.reporting.console import make_console
from notus_exp.reporting.tables import Report, Table, show
from notus_exp.reporting.texts import in_one_line, tell, tell_path, visible
from notus_exp.run.display import Display, StageRow, stages_table
from support.curation_tables import completion, prompt, settings, table
from support.readable_studies import add_stage, pairs, readable
from support.report_folders import comparison, full, written
from support.study_folders import ACCURACY, crossed, edit, write_study

EVIL = "[bold]a[/bold] [/] :smile: \x1b[31mred\x1b]0;title\x07 \x9b2J \x7f \u202edcba"
SEEN = "[bold]a[/bold] [/] :smile: ␛[31mred␛]0;title␇ �2J � �dcba"
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def without_styles(text: str) -> str:
    """Take away what Rich writes to a terminal by itself: colours and weights of what it draws."""
    return re.sub(r"\x1b\[[\d;]*m", "", text.replace("␛[", "␛("))


@given(st.text())
def test_what_is_visible_acts_on_nothing(text: str) -> None:
    shown = visible(text)
    assert not ACTING.search(shown)
    assert len(shown) == len(text)
    assert visible(shown) == shown
    assert "\n" not in in_one_line(text)
    if not ACTING.search(text) and not re.search("[\ud800-\udfff]", text):
        assert shown == text


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_everything_that_a_console_prints_is_shown_as_it_is(stream: Callable[[], io.StringIO]) -> None:
    out = stream()
    console = make_console(out)
    console.width = 200
    console.print(EVIL, soft_wrap=True)
    console.rule(EVIL)
    report = Report({}, [Table(EVIL, [EVIL, f"b\n{EVIL}"], [[EVIL, "c\td"]])], [EVIL])
    show(report, console, as_json=False)
    screen = Display(console)
    screen.reused(EVIL, 1.0)
    show(Report({}, [stages_table([StageRow("policy", "run", None, EVIL)])]), console, as_json=False)
    text = without_styles(out.getvalue())
    assert not ACTING.search(text)
    assert text.count(SEEN.replace("␛[", "␛(")) == 9
    assert "b␊[bold]" in text
    assert "c␉d" in text


def test_json_stays_the_same_data_and_holds_no_acting_character() -> None:
    out = io.StringIO()
    data = {EVIL: [EVIL, "line\nend \ud800"]}
    show(Report(data), make_console(out), as_json=True)
    assert not ACTING.search(out.getvalue())
    assert json.loads(out.getvalue()) == data


def test_messages_and_paths_are_told_so(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    tell(f"error: {UserError(EVIL, 'hint')}", sys.stderr)
    tell_path(f"/outputs/{EVIL}", sys.stdout)
    printed = capsysbinary.readouterr()
    assert printed.err.decode() == f"error: {SEEN}\n  hint\n"
    assert printed.out.decode() == f"/outputs/{EVIL}\n", "a program reads the path itself"
    terminal = Terminal()
    tell_path(EVIL, terminal)
    assert terminal.getvalue() == f"{SEEN}\n"


# ------------------------------------------------------------------------------------------------------- the commands
NAME = EVIL.replace("/", "|")
"""As part of a file's name."""


def _verdicts(folder: Path) -> Path:
    file = folder / f"{NAME}.csv"
    columns = {"prompt_id": [f"p{n}" for n in range(12)], EVIL: [n % 3 / 2 for n in range(12)]}
    pl.DataFrame({**columns, "other": [n % 2 / 1 for n in range(12)]}).write_csv(file)
    return file


def _study(folder: Path) -> Path:
    arms = {
        arm: {seed: {ACCURACY: row} for seed, row in crossed(12, [0, 1], effect=effect, arm=place).items()}
        for place, (arm, effect) in enumerate({"critique": 0.0, EVIL: 0.2}.items())
    }
    return write_study(folder / NAME, arms)


def _annotations(folder: Path) -> Path:
    row = {"output_1": "reference", "output_2": "answer", "generator_1": EVIL, "generator_2": EVIL}
    rows = [row | {"instruction": f"question {n}", "preference": 1.0 + n % 2} for n in range(8)]
    file = folder / f"{NAME}.json"
    file.write_text(json.dumps(rows), encoding="utf-8")
    return file


def _judgments(folder: Path) -> Path:
    rows = [
        {"model": EVIL, "question_id": 81 + n // 2, "turn": 1 + n % 2, "score": 5 + n % 3, "judge": [EVIL, EVIL]}
        for n in range(8)
    ]
    file = folder / f"{NAME}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def _artifacts(folder: Path) -> Path:
    place = folder / NAME
    (place / "artifacts" / f"pairs-{NAME}").mkdir(parents=True)
    (place / "artifacts" / f"pairs-{NAME}" / "manifest.json").write_text("{}", encoding="utf-8")
    return place


def _pilot(folder: Path) -> Path:
    place = folder / NAME
    place.mkdir()
    row = {
        "metric": ACCURACY,
        "primary": True,
        "arm": EVIL,
        "reference": f"b {EVIL}",
        "prompts": 300,
        "seeds": 3,
        "p": 0.2,
    }
    row |= {"components": {"prompt": 0.16, "seed": 0.0001, "residual": 0.09}}
    (place / "comparison.json").write_text(json.dumps({"contrasts": [row]}), encoding="utf-8")
    return place


def _runs(folder: Path) -> tuple[Path, Path]:
    """Two runs whose settings, errors, prompts and responses are hostile."""
    study = readable(folder)
    one, two = (study.parent.parent / "runs" / name for name in ("critique-s0", "average-s0"))
    for place, run in enumerate((one, two)):
        change = {"choices": {"data": f"{place}{EVIL}"}, "command": [EVIL], "git_commit": f"{place}{EVIL}"}
        edit(run / "run.json", lambda content, change=change: content.update(change))
        texts = [pl.lit([{"role": "user", "content": f"{place}{EVIL}"}]).alias(role) for role in ("chosen", "rejected")]
        add_stage(study, run.name, "pairs", {PAIRS: pairs().with_columns(*texts)})
    return one, two


COMMANDS: dict[str, tuple[Callable[..., int], Callable[[Path], list[object]]]] = {
    "verdicts": (compare.main, lambda folder: ["--verdicts", _verdicts(folder)]),
    "study": (compare.main, lambda folder: [_study(folder)]),
    "alpaca_eval": (score.main, lambda folder: ["alpaca_eval", _annotations(folder)]),
    "mt_bench": (score.main, lambda folder: ["mt_bench", _judgments(folder)]),
    "pilot": (power.main, lambda folder: ["--pilot", _pilot(folder), "--effect", "0.1"]),
    "artifacts": (artifacts.main, lambda folder: ["list", _artifacts(folder)]),
    "artifacts verified": (artifacts.main, lambda folder: ["verify", _artifacts(folder)]),
    "runs": (runs.main, lambda folder: ["list", _runs(folder)[0].parent.parent]),
    "a run": (runs.main, lambda folder: ["show", _runs(folder)[0]]),
    "two runs": (runs.main, lambda folder: ["diff", *_runs(folder)]),
    "pairs": (runs.main, lambda folder: ["pairs", _runs(folder)[0]]),
    "flips": (runs.main, lambda folder: ["pairs", _runs(folder)[0], "--flips", folder / "outputs/runs/average-s0"]),
    "no run": (runs.main, lambda folder: ["show", EVIL, "--output-dir", _runs(folder)[0].parent.parent]),
    "no study": (compare.main, lambda folder: [folder / EVIL]),
    "no table": (compare.main, lambda folder: ["--verdicts", folder / f"{EVIL}.csv"]),
    "no annotations": (score.main, lambda folder: ["alpaca_eval", folder / EVIL]),
    "no judgments": (score.main, lambda folder: ["mt_bench", folder / EVIL]),
    "no responses": (score.main, lambda folder: ["ifeval", folder / EVIL, folder / EVIL]),
    "no log-probs": (score.main, lambda folder: ["logprobs", folder / EVIL]),
    "no pilot": (power.main, lambda folder: ["--pilot", folder / EVIL, "--effect", "1"]),
    "no flag": (power.main, lambda _: ["--" + EVIL.replace(" ", "_")]),
    "no column": (compare.main, lambda folder: ["--verdicts", _verdicts(folder), "--baseline", EVIL + "x"]),
}


@pytest.mark.parametrize(
    ("command", "as_json"),
    [(name, form) for name in COMMANDS for form in (False, True)[: 1 if name[:3] == "no " else 2]],
)
def test_no_command_prints_a_hostile_name_as_anything_but_text(
    command: str, as_json: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main, arguments = COMMANDS[command]
    given = [*map(str, arguments(tmp_path)), *(["--json"] if as_json else [])]
    try:
        main(given)
    except SystemExit as end:
        assert end.code == 2
    printed = capsys.readouterr()
    text = printed.out + printed.err
    assert text
    assert not ACTING.search(text)
    assert ":smile:" in re.sub(r"\s+", "", text)
    assert "[bold]" in text


@pytest.mark.parametrize("setting", [["output_dir="], ["data=rated", "data.path="], ["tracking.name="]])
def test_the_command_itself_prints_a_hostile_place_as_text(setting: list[str], tmp_path: Path) -> None:
    *before, last = setting
    given = [*before, last + quoted(str(tmp_path / NAME))]
    command = [sys.executable, "-m", "notus_exp", "experiment=smoke", "until=config", *given]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
    *lines, last = done.stdout.splitlines() or [""]
    assert done.returncode == (0 if setting == ["output_dir="] else 2), done.stderr
    assert not ACTING.search("\n".join(lines) + done.stderr)
    assert "[bold]" in "\n".join(lines) + done.stderr
    assert "Traceback" not in done.stderr


# ---------------------------------------------------------------------------------------------------------- the pages
def test_no_page_holds_an_acting_character(tmp_path: Path) -> None:
    arms = (f"base {EVIL}", f"other\n{EVIL}")
    made = full(tmp_path, arms, text=EVIL)
    made.runs[arms[0], 0] |= {"status": "failed", "error": EVIL}
    page = written(made.write(), comparison(arms, warnings=[EVIL], verdict=EVIL))
    assert not page.wrong
    [html] = tmp_path.rglob("report.html")
    assert not ACTING.search(html.read_text(encoding="utf-8"))
    frame = table(
        prompt(
            EVIL, completion(EVIL, 5, 5, overall=1, model=EVIL), completion("b", 1, 1, overall=2, model=f"m\n{EVIL}")
        )
    )
    assert not ACTING.search(render(summarise(frame, settings(), curate(frame, settings()))))
