"""A model hub: the commit that a branch or tag stands for, with or without a network. Imports no heavy library."""

from __future__ import annotations

import re
from pathlib import Path

from notus_exp.errors import UserError

HUB_TIMEOUT = 10.0
"""Seconds that the hub has to answer."""


_COMMIT = re.compile(r"[0-9a-f]{40}")


def hub_commit(repo_id: str, revision: str, repo_type: str) -> str | None:
    """Return the commit (40 hex digits) that a revision of a hub repository stands for.

    A revision that is a commit already is returned as it is. Else the hub is asked; where it cannot be reached, the
    commit that this machine's hub cache noted for the revision at an earlier download is taken.

    Args:
        repo_id: Such as `openbmb/UltraFeedback`.
        revision: Branch, tag or commit.
        repo_type: `dataset` or `model`.

    Returns:
        The commit, or None where neither the hub nor the cache knows it now.

    Raises:
        UserError: The hub answers that there is no such repository or revision, or the id is no valid one.
    """
    if _COMMIT.fullmatch(revision):
        return revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return HfApi().repo_info(repo_id, repo_type=repo_type, revision=revision, timeout=HUB_TIMEOUT).sha
    except HFValidationError as problem:
        raise UserError(f"'{repo_id}' is not the id of a hub {repo_type}", "it reads ORG/NAME") from problem
    except RevisionNotFoundError as problem:
        raise UserError(
            f"{repo_type} {repo_id} has no revision '{revision}'", "name a branch, tag or commit"
        ) from problem
    except RepositoryNotFoundError as problem:
        hint = "check the name; for a private or gated one log in with HF_TOKEN"
        raise UserError(f"the hub shows no {repo_type} {repo_id}", hint) from problem
    except Exception:  # each release of the hub client has its own transport's errors: offline, refused, timed out
        return _cached_commit(repo_id, revision, repo_type)


def _cached_commit(repo_id: str, revision: str, repo_type: str) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folder = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=repo_type)
    note = folder / "refs" / revision
    commit = note.read_text(encoding="utf-8").strip() if note.is_file() else ""
    return commit if _COMMIT.fullmatch(commit) else None
