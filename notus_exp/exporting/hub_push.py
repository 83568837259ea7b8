"""Exports on a model hub: a repository for the data and one for the model, private unless somebody says otherwise."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from notus_exp.errors import UserError, first_line

if TYPE_CHECKING:
    from huggingface_hub import HfApi

TOKEN, ENDPOINT = "HF_TOKEN", "HF_ENDPOINT"
"""Variables of the environment: who pushes, and where to (not given: the public hub)."""
_NAME = re.compile(r"hub:(?P<name>(?:[\w.-]+/)?[\w.-]+)", re.ASCII)

HubAnswer = TypeVar("HubAnswer")


class Pushed(NamedTuple):
    """A repository that was written.

    Attributes:
        kind: `dataset` or `model`.
        url: Of its page.
        commit: The commit that holds the export.
        private: Whether only those who are let in see it.
    """

    kind: str
    url: str
    commit: str
    private: bool


def repository(text: str) -> str:
    """Return the name of the repositories that `--push` asks for.

    Raises:
        UserError: It is not `hub:NAME` or `hub:ORG/NAME`.
    """
    found = _NAME.fullmatch(text)
    if not found:
        raise UserError(f"--push {text} names no repository", "write --push hub:NAME, or hub:ORG/NAME")
    return found["name"]


def token() -> str:
    """Return the hub's token, which only the environment holds.

    Raises:
        UserError: It does not.
    """
    found = os.environ.get(TOKEN, "").strip()
    if not found:
        raise UserError(
            f"--push needs a token of the hub, and {TOKEN} is not set",
            f"export {TOKEN}=... with a token that may write; it is written nowhere",
        )
    return found


def push(kinds: dict[str, dict[str, Path]], name: str, *, public: bool) -> list[Pushed]:
    """Write files to repositories of the hub, each in one commit.

    Nothing is taken away there: what a repository held before stays in its history. Each is looked at before any file
    leaves the machine.

    Args:
        kinds: `dataset` and `model` -> place in the repository -> the file.
        name: NAME or ORG/NAME; both kinds have repositories of their own under it.
        public: Whether everybody may see them.

    Raises:
        UserError: The hub refuses or cannot be reached, or a repository of that name is seen by others than asked for.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get(ENDPOINT) or None, token=token())
    found = {kind: _made(api, name, kind, public=public) for kind in kinds}
    return [_committed(api, files, found[kind], kind, public=public) for kind, files in kinds.items()]


def _made(api: HfApi, name: str, kind: str, *, public: bool) -> str:
    """Make a repository where there is none; return its full name."""

    def make() -> tuple[str, bool | None]:
        made = api.create_repo(name, repo_type=kind, private=not public, exist_ok=True)
        return made.repo_id, api.repo_info(made.repo_id, repo_type=kind).private

    repo, private = _asked(make, f"{kind} {name}")
    if bool(private) is public:
        seen = "it is private, and --public is given" if public else "everybody sees it, and --public is not given"
        raise UserError(
            f"{kind} {repo} is on the hub already: {seen}",
            "give another name, or change on the hub who sees it",
        )
    return repo


def _committed(api: HfApi, files: dict[str, Path], repo: str, kind: str, *, public: bool) -> Pushed:
    from huggingface_hub import CommitOperationAdd

    added = [CommitOperationAdd(place, str(path)) for place, path in files.items()]

    def commit() -> Any:
        return api.create_commit(repo, added, commit_message="Export of notus-exp", repo_type=kind)

    done = _asked(commit, f"{kind} {repo}")
    page = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo}"
    return Pushed(kind, page, done.oid, not public)


def _asked(ask: Callable[[], HubAnswer], what: str) -> HubAnswer:
    """Return what the hub answers; each release of its client has its own errors of the transport."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        return ask()
    except HFValidationError as error:
        raise UserError(f"--push: '{what}' cannot be a name on the hub", "it reads NAME or ORG/NAME") from error
    except OfflineModeIsEnabled as error:
        raise UserError("--push: HF_HUB_OFFLINE keeps this machine from the hub", "unset it") from error
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        refused = f"the token of {TOKEN} may not write there" if status in (401, 403) else first_line(error)
        raise UserError(
            f"--push: the hub refuses {what} ({status}): {refused}", "check the name and the token"
        ) from error
    except (OSError, ValueError) as error:  # what the card's header lacks, or a file that is gone
        raise UserError(f"--push: {what}: {first_line(error)}", "mend that, and push again") from error
    except Exception as error:
        raise UserError(f"--push: the hub cannot be reached: {first_line(error)}", "check the network") from error
