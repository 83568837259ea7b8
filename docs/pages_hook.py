"""What mkdocs asks of us: the pages that stand at the top of the repository, and their links from within the site."""

from __future__ import annotations

from pathlib import Path

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
AT_THE_TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}


def on_files(files: Files, config, **_) -> Files:
    """Add the pages at the top under the names that the site has for them."""
    for page, name in AT_THE_TOP.items():
        files.append(File.generated(config, name, content=(ROOT / page).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Turn links from the top into docs, among pages at the top, and from docs to the top, into those of the site."""
    top = page.file.src_uri in AT_THE_TOP.values()
    for before in ("](", '="'):
        if top:
            markdown = markdown.replace(f"{before}docs/", before)
        for name, of_site in AT_THE_TOP.items():
            markdown = markdown.replace(f"{before}{'' if top else '../'}{name}", f"{before}{of_site}")
    return markdown
