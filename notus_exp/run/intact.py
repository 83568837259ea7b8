"""What of a plan is there and intact, and what must be made: damaged artifacts are named, moved aside and made anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from notus_exp.contracts.manifest import Manifest
from notus_exp.disk.artifacts import ArtifactStore, Found
from notus_exp.disk.keys import content_of
from notus_exp.run.nodes import Node


class Sorted(NamedTuple):
    """Nodes by what is to be done about them.

    Attributes:
        usable: Manifests of those that can be used, by node name.
        missing: Those that are to be made.
        undecided: Those that are there and made from one of the missing, and all that is made from these: when the
            missing are made, it shows what of them can be used.
    """

    usable: dict[str, Manifest]
    missing: list[Node]
    undecided: list[Node]


Find = Callable[[Manifest], Manifest | None]
"""Returns the manifest of an artifact that is there: `ArtifactStore.find`, or what remembers it for many looks."""


def examine(
    node: Node, store: ArtifactStore, nodes: Mapping[str, Node], *, read: bool, find: Find | None = None
) -> Found:
    """Tell whether a node's artifact can be used as it lies there.

    It cannot where a file of it is not what was written, nor where an input was made anew since and came out with
    another content.

    Args:
        node: The node.
        store: Where artifacts lie.
        nodes: Key -> node, of the inputs at least.
        read: Whether files that were not checked before are read, or sizes are enough.
        find: Finds inputs; None: the store's.

    Raises:
        NewerFormatError: The artifact was made by a newer version.
    """
    found = store.check(node.wanted) if read else store.look(node.wanted)
    if found.manifest is None:
        return found
    contents = _contents(node, store, nodes, find or store.find)
    other = [use for use, content in found.manifest.contents.items() if contents.get(use, content) != content]
    if not other:
        return found
    folder = store.path(node.stage.name, node.key)
    return Found(None, f"{folder} was made from another content of {', '.join(other)} than lies there now")


def ready(nodes: Sequence[Node], store: ArtifactStore, known: Mapping[str, Node], say: Callable[[str], None]) -> Sorted:
    """Sort nodes by what is to be done about them; what cannot be used is named and moved aside.

    Args:
        nodes: Inputs before their users.
        store: Where artifacts lie.
        known: Key -> node, of all inputs.
        say: Shows a line to the user.

    Raises:
        NewerFormatError: An artifact was made by a newer version.
    """
    usable: dict[str, Manifest] = {}
    missing: list[Node] = []
    undecided: list[Node] = []
    for node in nodes:
        for moved in store.clear(node.wanted):
            what = f"the link {moved.name}" if moved.is_symlink() else moved.name
            say(f"{what} lay in the artifact of {node.name}, which did not write it: it is moved to {moved}")
        waits = any(node.reads(other) for other in missing)
        if any(node.reads(other) for other in undecided) or (waits and store.find(node.wanted) is not None):
            undecided.append(node)
            continue
        manifest, damage = examine(node, store, known, read=True)
        if damage is not None:
            aside = store.set_aside(node.wanted)
            say(f"{damage}; {node.name} is made anew, and what was there is kept as {aside.name}")
        if manifest is None:
            missing.append(node)
            continue
        usable[node.name] = manifest
        if manifest.hashed and not manifest.contents:
            store.note_contents(manifest, _contents(node, store, known, store.find))
    return Sorted(usable, missing, undecided)


def _contents(node: Node, store: ArtifactStore, nodes: Mapping[str, Node], find: Find) -> dict[str, str]:
    """Return what is known of the contents of a node's inputs, by input name; some may be of another run."""
    found = {}
    for use, key in node.inputs.items():
        manifest = find(nodes[key].wanted) if key in nodes else store.told(node.uses[use], key)
        content = content_of(manifest) if manifest else None
        if content is not None:
            found[use] = content
    return found
