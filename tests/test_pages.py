"""The Markdown pages: links lead somewhere, blocks say their language, quoted messages are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from support.markdown import OTHER, PAGES, SHELL, anchors, blocks, commands, links
from support.places import ROOT

TROUBLE = ROOT / "docs/troubleshooting.md"
LEAST = 6
"""Characters that a piece of a message must have to be looked for."""


def broken(page: Path, root: Path = ROOT) -> list[str]:
    """Return the links of a page that lead nowhere below a root; those to the web are not followed."""
    found = []
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        here = target.exists() and target.is_relative_to(root)
        if not here or (anchor and (target.suffix != ".md" or anchor not in anchors(target))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_between_pages_lead_to_files_and_headings_that_exist(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_a_lost_heading_and_a_lost_picture_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A *b*: c\n[1](#a-b-c) [2](#lost) [3](none.md) [4](page.md#a-b-c) [5](https://no.where) `[6](x.md)`\n"
        '<img src="gone.png">\n\n    [7](in_code.md)\n'
    )
    assert broken(page, tmp_path) == ["#lost", "none.md", "gone.png"]


@pytest.mark.parametrize(
    "text",
    [
        "> ```sh\n> {}\n> ```\n",
        "> > ~~~~ sh\n> > {}\n> > ~~~~\n",
        "> words\n>\n>     {}\n",
        "> ```text\n> out\n{}\n",  # the quotation ends before this line: it is a sentence
        "1. Then\n    ```sh\n    {}\n    ```\n",
        "- Then\n  ```sh title=x\n  {}\n  ```\n",
        "- ```sh\n  {}\n  ```\n",
        "<pre>\n{}\n</pre>\n",
        "<details><pre><code>{}</code></pre></details>\n",
        "Give ``{}`` then.\n",
        "Give <code>{}</code> then.\n",
        "Give `$ {}` then.\n",
        "```text\n$ {}\n```\n",
        "words\n\n\t{}\n",
    ],
)
def test_a_command_is_found_however_the_page_shows_it(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("support.markdown.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("# A page\n\n" + text.format("python -m notus_exp seed=7") + "\nwords\n")
    found = [one.text for one in commands(page)]
    assert found == ([] if "> out" in text else ["python -m notus_exp seed=7"])


def test_what_is_shown_of_markdown_itself_is_no_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.markdown.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("`<pre>` and `<code>` are tags\n\n```text\n> quoted\n```\n\nA `stray tick\n\nmake that` so.\n")
    assert commands(page) == []
    assert [block.lines for block in blocks(page.read_text())[0]] == [["> quoted"]]


def test_every_page_of_docs_is_reached_from_the_readme() -> None:
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            waiting += sorted(target.glob("*.md")) if target.is_dir() else [target] * target.is_file()
    assert set(PAGES) - reached == set()


def test_the_site_leads_to_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2]
    top = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
    pages = [page.relative_to(ROOT).as_posix().removeprefix("docs/") for page in PAGES]
    named = re.findall(r"- (\S+\.md)$", navigation, re.MULTILINE)
    assert sorted(named) == sorted(["changelog.md", *(top.get(page, page) for page in pages)])


def test_figures_of_the_readme_are_those_of_the_pages_that_it_names() -> None:
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What was measured")[2].partition("\n## ")[0]
    rows = re.findall(r"^\|(.+)\|([^|]+)\| \[.+\]\((docs/results/\w+\.md)\) \|$", table, re.MULTILINE)
    assert len(rows) > 6
    lost = []
    for what, result, page in rows:
        held = (ROOT / page).read_text(encoding="utf-8")
        figures = re.findall(r"\d[\d,]*\.\d+|\d[\d,]{2,}\d|\d{3}", what + result)
        lost += [f"{page}: {one}" for one in figures if not re.search(rf"(?<![\d.,]){re.escape(one)}(?!\d)", held)]
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_fenced_block_says_a_language_that_the_finder_of_commands_knows(page: Path) -> None:
    languages = {block.language for block in blocks(page.read_text(encoding="utf-8"))[0]}
    assert languages <= {None, *SHELL, *OTHER}


def test_commands_are_found_in_all_kinds_of_code(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("support.markdown.ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text(
        "Say `python -m a b` or `make\nx`, not `python -m a`, `key=make` or `a b`.\n\n"
        "    A=1 python -m c  # why\n    y = f(x)\n\n    pip install d\n\n"
        "```sh\nls e \\\n    'f#g' # h\n# nothing\n```\n\n```text\nmake i\nnothing\n```\n"
    )
    found = {command.text: command.number for command in commands(page)}
    assert found == {
        "python -m a b": 1,
        "make x": 1,
        "A=1 python -m c": 4,
        "pip install d": 7,
        "ls e 'f#g'": 10,
        "make i": 16,
    }


def literals() -> list[str]:
    """Return every text of the package's code, with a bar for what is filled in."""

    def text(node: ast.AST) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        if isinstance(node, ast.JoinedStr):
            return "".join(text(value) for value in node.values)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            return text(node.left) + text(node.right)
        return "|"

    kinds = ast.Constant | ast.JoinedStr | ast.BinOp
    found = set()
    for path in (ROOT / "notus_exp").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found |= {text(node) for node in ast.walk(tree) if isinstance(node, kinds)}
    return sorted(found)


def test_messages_quoted_for_troubleshooting_are_those_of_the_code() -> None:
    """Each message, cut at what is filled in: all its pieces stand in one text of the code, in that order."""
    quoted = re.findall(r"^- `([^`]+)` :", TROUBLE.read_text(encoding="utf-8"), re.MULTILINE)
    texts = literals()
    assert len(quoted) > 30
    lost = []
    for message in quoted:
        pieces = [re.escape(piece) for piece in message.split("…")]
        assert max(map(len, pieces)) >= LEAST, message
        pattern = re.compile(".*".join(pieces), re.DOTALL)
        if not any(pattern.search(text) for text in texts):
            lost.append(message)
    assert lost == []
