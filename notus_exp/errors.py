"""Expected failures: what went wrong, with which value, and what to do about it; secrets are struck out of them."""

from __future__ import annotations

import base64
import difflib
import html
import os
import re
import traceback
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

SHOWN = 20
"""Known words listed at most; of more, such as all keys of the config, only the groups."""

SLIP = 0.95
"""Likeness of two names, of 1, above which one letter is wrong rather than the name."""

STRUCK = "***"

_IN_URL = re.compile(r"(?<=:/)(/*)(?:[^\s/?#:]*:\S*|[^\s/?#]*)@")
"""User information of a URL (RFC 3986, section 3.2.1): what stands between `//` and `@`, of which a URL that was taken
for a path has one slash left. A password is taken up to the last `@`, as databases' drivers allow unescaped slashes in
it; rather a path with a port and an `@` is hidden too."""
_ADDRESS = re.compile(r"\s*([A-Za-z][\w+.-]+):/")
"""How a URL begins, with one slash or two; a single letter is a drive."""

_IN_QUERY = re.compile(r"([?&]([\w-]+)=)[^&\s'\"]*")
"""A parameter of a URL's query."""

_SECRET_WORDS = frozenset({"auth", "cred", "key", "pass", "passcode", "pat", "pwd", "sig", "sshpass"})
"""Words that tell of a secret in the name of a variable or a parameter: OPENAI_API_KEY, DB_PASS, MY_PAT."""
_SECRET_ENDS = ("apikey", "accesskey", "bearer", "credential", "passphrase", "passwd", "password", "secret",
                "signature", "token")  # fmt: skip
"""Ends of words that do, with whatever goes before: PGPASSWORD, sslpassword."""
_NO_SECRETS = frozenset({"PWD", "SSH_AUTH_SOCK"})
"""Variables of every shell with such a word, that hold places."""

LONGEST_LINE, LONGEST_MESSAGE = 2_000, 20_000
"""Characters of an error that are shown at most; a value in it may have any length."""

LEAST_CHARACTERS = 8
"""A shorter value is a placeholder, and striking it out would spoil words."""


MOST_QUOTED = 3
"""Times that a text may have been quoted for a URL or a page, as an address within an address is."""
_ESCAPE = re.compile(r"(?i)\\+(?:u00([0-9a-f]{2})|x([0-9a-f]{2})|(/))")
"""A character as JSON and most languages may write it, however often it was written so."""


def without_secret(text: str, secret: str) -> str:
    r"""Return a text with `***` for a secret, as it is, in hex or base64; a text that hides it in escapes is decoded.

    Args:
        text: Such as a server's own words.
        secret: One of fewer than `LEAST_CHARACTERS` is a placeholder, and stays.
    """
    if len(secret) < LEAST_CHARACTERS:
        return text
    spellings = _spellings(secret)
    for read in (text, _decoded(text)):
        if any(spelling in read for spelling in spellings):
            for spelling in spellings:
                read = read.replace(spelling, STRUCK)
            text = read
    return text


def _decoded(text: str) -> str:
    """Return a text without the escapes of JSON, HTML and URLs."""
    if not any(mark in text for mark in "\\&%"):
        return text
    for _ in range(MOST_QUOTED):
        plain = _ESCAPE.sub(lambda found: found[3] or chr(int(found[1] or found[2], 16)), text)
        text = unquote(html.unescape(plain))
    return text


@lru_cache(maxsize=64)
def _spellings(secret: str) -> tuple[str, ...]:
    """Return a secret, its hex, and what of its base64 it alone decides, at each of the three places of its begin."""
    content = secret.encode("utf-8", "surrogateescape")
    found = [secret]
    for digits in (content.hex(), content.hex(" "), content.hex(":")):
        found += [digits, digits.upper()]
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + content).decode()
        own = whole[(0, 2, 3)[before] : 4 * ((before + len(content)) // 3) + (0, 1, 2)[(before + len(content)) % 3]]
        found += [own, own.translate(str.maketrans("+/", "-_"))]
    return tuple(dict.fromkeys(found))


def strike(text: str) -> str:
    """Return a text with `***` for users and passwords of URLs, secrets of their queries, and secrets that are known.

    Known are the values of the environment variables whose names say that they hold a secret.
    """
    text = _IN_QUERY.sub(_struck_parameter, _IN_URL.sub(rf"\1{STRUCK}@", text))
    for name, value in os.environ.items():
        if names_secret(name):
            text = without_secret(text, value)
    return text


def names_secret(name: str) -> bool:
    """Say whether the words of a variable's or a parameter's name, apart at `_` and at capitals, tell of a secret."""
    if name in _NO_SECRETS:
        return False
    words = [word.lower() for word in re.findall("[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    singular = [word.removesuffix("s") for word in words]
    return not _SECRET_WORDS.isdisjoint([*words, *singular]) or any(word.endswith(_SECRET_ENDS) for word in singular)


def _struck_parameter(found: re.Match[str]) -> str:
    return found.group(1) + STRUCK if names_secret(found.group(2)) else found.group()


def check_local(named: str, value: str) -> None:
    """Refuse a URL where a folder or file of this machine is asked: it would be the path of one named `https:`.

    Args:
        named: The setting or argument, for the error.
        value: What was given; only its scheme is shown, since the rest may hold a password.

    Raises:
        UserError: It is a URL.
    """
    found = _ADDRESS.match(value)
    if found:
        raise UserError(
            f"{named} is an address ({found[1]}://...), and a folder or file of this machine is asked",
            "give its path here; what lies elsewhere is copied to this machine first",
        )


def _shortened(text: str) -> str:
    """Return a text as it is shown, what is longer than anybody reads cut out of the midst of it and of its lines."""
    lines = (_cut(line, LONGEST_LINE) for line in text.split("\n"))
    return _cut("\n".join(lines), LONGEST_MESSAGE)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} [... {len(text) - most // 4 * 3:,} characters ...] {text[-(most // 4) :]}"


class UserError(Exception):
    """A failure that the user can mend; shown as one or two lines, never as a traceback.

    Args:
        message: What is wrong, naming the key or file and the value.
        hint: What to do about it (a second line), or "".

    Attributes:
        code: What a command that ends so exits with.
    """

    code = 2

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = _shortened(strike(message)), _shortened(strike(hint))
        super().__init__(self.message, self.hint)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


class UnscoredError(UserError):
    """All that was to be made is made, and an evaluation that was asked for has no score."""

    code = 3


def first_line(error: BaseException | str) -> str:
    """Return the first line of an error's text that has words in it, or its type's name where there is none.

    Never raises, whatever a library's error makes of being turned into text.
    """
    try:
        text = str(error)
    except Exception:  # an error may fail at telling what it is about
        text = ""
    lines = (line.strip() for line in strike(text).splitlines())
    return next(
        (_cut(line, LONGEST_LINE) for line in lines if line), "" if isinstance(error, str) else type(error).__name__
    )


def named_line(error: BaseException) -> str:
    """Return an error that nobody expected in one line: its type and the first line of its text, if it has one."""
    name, line = type(error).__name__, first_line(error)
    return line if line == name else f"{name}: {line}"


def whole_traceback(error: BaseException) -> str:
    """Return the traceback of an error that nobody expected."""
    return strike("".join(traceback.format_exception(error)).rstrip("\n"))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"did you mean 'x'?"`` for the nearest known word, else the list of known ones where it is short."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f"did you mean '{close[0]}'?"
    shown = known if len(known) <= SHOWN else sorted({name.split(".")[0] for name in known})
    return f"known: {', '.join(shown)}" if known else ""


def nearest(word: str, known: Iterable[str], most: int = 3) -> str:
    """Return ``"did you mean 'x', 'y' or 'z'?"`` with the nearest known names, however far they are; "" for none.

    Args:
        word: What was given.
        known: Names of parts with `/` between them, such as metrics; the last part alone may have been meant.
        most: How many are named; one alone where `word` is but a slip away from it.
    """

    def alike(name: str) -> float:
        parts = (name, name.rpartition("/")[2])
        return max(difflib.SequenceMatcher(None, word, part).ratio() for part in parts)

    ranked = sorted(sorted({*known}), key=alike, reverse=True)
    if ranked and alike(ranked[0]) > SLIP:
        ranked = ranked[:1]
    names = [f"'{name}'" for name in ranked[:most]]
    shown = " or ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))
    return f"did you mean {shown}?" if shown else ""
