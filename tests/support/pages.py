"""An HTML page as a test sees it: whether it is well formed, what it would load, and the words of each section."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = frozenset({"meta", "br", "img", "hr", "link", "input", "wbr"})


class Page(HTMLParser):
    """Reads a page.

    Attributes:
        tags: Every tag that was opened.
        ids: Every id.
        attributes: (tag, name, value) of every attribute.
        wrong: Tags that were closed out of order or never.
        texts: Section id -> its words, white space made single.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.wrong: list[str] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self._section = ""
        self.feed(html)
        self.close()
        self.wrong += self._open
        self.texts = {name: " ".join(text.split()) for name, text in self.texts.items()}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag == "wbr":  # a name goes on behind it
            self.texts[self._section] = self.texts.get(self._section, "").removesuffix(" ")
        own = dict(attrs).get("id")
        if own:
            self.ids.append(own)
        if tag == "section" and own:
            self._section = own
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()
        else:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts[self._section] = self.texts.get(self._section, "") + data + " "
