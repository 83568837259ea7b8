"""Which options of the group `data` would read data that the chosen one does not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from omegaconf import OmegaConf

from notus_exp.config.data_settings import FileData, Mapped, PromptsAlone, RepeatedPrompts, data_kind
from notus_exp.config.folders import conf_dir
from notus_exp.config.mapping_paths import parsed_path, paths
from notus_exp.errors import UserError
from notus_exp.feedback.records import Malformed, Record
from notus_exp.feedback.table import Parsed

FIRST = 20
"""Records that are tried."""
MOST_NAMED = 3
"""Options that are named at most."""
OF_ULTRAFEEDBACK = {"instruction", "completions", "models", "source"}
"""Fields of a record that the option reads which has no setting for them."""

Read = Callable[[FileData, Iterable[Record | Malformed]], Parsed]


def options_that_read(records: Sequence[Record], read: Read, but: str) -> list[str]:
    """Return the options that read all of some records as shipped: those that read the most of their fields.

    Of these one that splits transcripts is named only where no other reads the records: texts need not be any.

    Args:
        records: The first records of the data.
        read: Reads records by the settings of an option.
        but: The option that was chosen, which is not named.

    Returns:
        At most `MOST_NAMED` names of options; none where there are no records.
    """
    fields = {name for record in records for name in record.value}
    shipped = {name: spec for name, spec in _shipped().items() if name != but} if records else {}
    found = {name: len(fields & _fields(spec)) for name, spec in shipped.items() if _reads(spec, records, read)}
    best = [name for name, count in found.items() if count == max(found.values())]
    plain = [name for name in best if not _splits_transcripts(shipped[name])]
    return (plain or best)[:MOST_NAMED]


def advice(options: Sequence[str]) -> str:
    """Return what is said of these options, as part of a remedy; "" where there are none."""
    return f"{' or '.join(f'data={name}' for name in options)} reads such records" if options else ""


def _shipped() -> dict[str, FileData]:
    """Return the settings of every shipped option that reads files, by its name."""
    files = {path.stem: OmegaConf.load(path) for path in sorted((conf_dir() / "data").glob("*.yaml"))}
    found = {}
    for name, own in files.items():
        given: Any = OmegaConf.merge(files["mapped"], own) if "mapping" in own else own
        kind = data_kind(given)
        answered = kind is not None and issubclass(kind, FileData) and kind is not PromptsAlone
        if answered and kind is not None and name != "mapped":
            del given["defaults"]
            spec = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), given))
            assert isinstance(spec, FileData)
            spec.repeated_prompts = RepeatedPrompts.keep  # what an answer repeats is no matter of the layout
            found[name] = spec
    return found


def _reads(spec: FileData, records: Sequence[Record], read: Read) -> bool:
    try:
        return not read(spec, records).malformed
    except UserError:
        return False


def _splits_transcripts(spec: FileData) -> bool:
    return isinstance(spec, Mapped) and bool(spec.mapping.speakers)


def _fields(spec: FileData) -> set[str]:
    """Return the fields of a record that an option reads."""
    if isinstance(spec, Mapped):
        named = paths(spec.mapping, spec.aspects)
        return {parsed_path(text, score=score).parts[0] for _, text, score in named}
    columns = {value for name, value in vars(spec).items() if name.endswith("_column") and value}
    return columns | {*spec.aspects} if columns else OF_ULTRAFEEDBACK
