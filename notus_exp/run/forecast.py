"""How long a plan may take: here from what was recorded or measured, elsewhere from assumptions, or it is not known."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from notus_exp.config.data_settings import UltraFeedback
from notus_exp.config.hardware_settings import Device, Hardware, Launch
from notus_exp.config.made_settings import prompts_of
from notus_exp.config.schema import Calibrate, Config, Stage
from notus_exp.config.sft_settings import ChatSft
from notus_exp.contracts.manifest import Manifest, read_manifest
from notus_exp.disk.artifacts import ArtifactStore
from notus_exp.disk.files import MANIFEST
from notus_exp.errors import UserError
from notus_exp.machine.cuda import cuda_devices
from notus_exp.reporting.tables import lasting
from notus_exp.run import amounts, measured_machine
from notus_exp.run.amounts import Known
from notus_exp.run.assumed_machine import Assumed, assumed
from notus_exp.run.calibration import FACTOR, Calibration
from notus_exp.run.expectation import Expected, expect, together
from notus_exp.run.nodes import Node
from notus_exp.run.recorded import Recorded, here

RECORDED, MEASURED, ASSUMED = "recorded", "measured", "assumed"
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of a parameter, by precision."""
TRAINED_COPIES = 3
"""Of all weights that training holds at least: weights, gradients, a moment of the optimiser."""


class Told(NamedTuple):
    """What a node may take.

    Attributes:
        expected: Seconds; None where that is not known.
        source: RECORDED, MEASURED or ASSUMED; "" where nothing is known.
        records: How many artifacts it was drawn from.
    """

    expected: Expected | None
    source: str = ""
    records: int = 0


NOT_KNOWN = Told(None)
NO_TIMES: Mapping[str, int] = MappingProxyType({})


class Wanted(NamedTuple):
    """What is to be forecast: the config of its first run, and nodes.

    Attributes:
        config: Its hardware, precision, model and output folder count for all of them.
        nodes: By key, of all runs.
        missing: Those that are to be made, in that order.
    """

    config: Config
    nodes: Mapping[str, Node]
    missing: Sequence[Node]


class Forecast:
    """Seconds that the wanted nodes of a plan may take on this machine.

    Args:
        wanted: What is to be done.
        several: Whether it is a study: its plan alone (`until=config`) measures this machine where `calibrate=studies`.
        say: Shows a line to the user.

    Attributes:
        known: Where amounts of work are looked up.
    """

    def __init__(self, wanted: Wanted, *, several: bool, say: Callable[[str], None]) -> None:
        config, self._wanted, self._say = wanted.config, wanted, say
        output = Path(config.output_dir).absolute()
        self._store, self._cache = ArtifactStore(output / "artifacts"), output / "cache"
        self._hardware, self._precision = config.hardware, config.dpo.precision.name
        self._machine = here(config.hardware)
        self._manifest = cache(self._read_manifest)
        self.known = Known(self._look, self._facts)
        self._recorded = Recorded(self._store, self._machine, self._look)
        asked = several and config.until is Stage.config
        self._may_measure = config.calibrate is Calibrate.always or (config.calibrate is Calibrate.studies and asked)
        self._base = next((key for key, node in wanted.nodes.items() if node.name == "base_model"), "")
        self.elsewhere = elsewhere(config.hardware)
        self._assumed = self._assume() if self.elsewhere else None
        self._told = self._from_assumptions() if self.elsewhere else self._forecast()

    def of(self, node: Node) -> Told:
        """Return what a wanted node may take."""
        return self._told.get(node.key, NOT_KNOWN)

    def briefly(self, nodes: Sequence[Node]) -> str:
        """Return what wanted nodes of a stage may take together; "" where that is not known of all of them."""
        expected = [self.of(node).expected for node in nodes]
        known = [one for one in expected if one]
        return lasts(together(known)) if known and len(known) == len(expected) else ""

    def in_words(self, wanted: Sequence[Node], times: Mapping[str, int] = NO_TIMES) -> str:
        """Say how long making some of the nodes takes one after the other, from what that is known, and how well.

        Args:
            wanted: The nodes.
            times: Key -> how many like that node are made, where it stands for several.
        """
        told = {node.key: self.of(node) for node in wanted}
        known = [one.expected.scaled(times.get(key, 1)) for key, one in told.items() if one.expected]
        unknown = dict.fromkeys(node.stage.name for node in wanted if told[node.key].expected is None)
        if not wanted:
            return "nothing is left to make"
        if not known:
            return f"not known: {self.elsewhere or self._why_not()}"
        rest = lasts(together(known)) + self._basis(wanted, told)
        return f"{', '.join(unknown)} not known; the rest {rest}" if unknown else rest

    def _basis(self, wanted: Sequence[Node], told: Mapping[str, Told]) -> str:
        if self._assumed:
            return f", {self._assumed.words}; {self.elsewhere}"
        records = {(node.stage, told[node.key].records) for node in wanted if told[node.key].source is RECORDED}
        measured = dict.fromkeys(node.stage.name for node in wanted if told[node.key].source is MEASURED)
        parts = []
        if records:
            count = sum(count for _, count in records)
            parts.append(f"what {count} {'artifact' if count == 1 else 'artifacts'} took on this machine")
        if measured:
            of = f" ({', '.join(measured)})" if records else ""
            how_well = f"within a factor of about {FACTOR:g}{of}"
            parts.append(f"a measurement of this machine doing nothing else{self._busy()}, {how_well}")
        return f", from {' and '.join(parts)}"

    def _busy(self) -> str:
        """Say that the processor does something else just now, and how much."""
        load, cores = os.getloadavg()[0], os.cpu_count() or 1
        busy = self._hardware.device is Device.cpu and load > cores
        return f" (it is busy now: {load:.0f} at work on {cores} cores, which makes it longer)" if busy else ""

    def _why_not(self) -> str:
        size = self._parameters(self._base)
        if self._hardware.launch is not Launch.plain:
            return f"nothing like it was made by {self._hardware.processes} processes on this machine"
        if not self._base:
            return "nothing like it was made on this machine"
        if size is None:
            return (
                "nothing like it was made on this machine, and how large the model is is not known before it is there"
            )
        if self._too_large(size):
            return f"{size:,} parameters in {self._precision} do not fit into this machine's memory"
        return "nothing like it was made on this machine, which was not measured (calibrate=always does)"

    # ------------------------------------------------------------------------------------------------------- forecast
    def _forecast(self) -> dict[str, Told]:
        work = self._work()
        told = {node.key: self._from_records(node, work[node.key]) for node in self._wanted.missing}
        if any(one.expected is None for one in told.values()) and (calibration := self._calibration()):
            for node in self._wanted.missing:
                if told[node.key].expected is None:
                    size = self._fitting(node)
                    share = calibration.seconds(node, self.known, self._hardware, size, work[node.key])
                    told[node.key] = Told(share, MEASURED) if share else NOT_KNOWN
        return told

    def _assume(self) -> Assumed | None:
        size = self._parameters(self._base) if self._base else None
        return assumed(self._hardware, self._precision, size) if size else None

    def _from_assumptions(self) -> dict[str, Told]:
        """Return what stages may take on the machine that the profile describes, as far as it names its device."""
        if self._assumed is None:
            return {}
        work, told = self._work(), dict[str, Told]()
        for node in self._wanted.missing:
            size, share = self._parameters(self._base_of(node)), self._assumed.share(node.stage)
            one = self._assumed.calibration.seconds(node, self.known, self._hardware, size, work[node.key])
            told[node.key] = Told(one.scaled(share), ASSUMED) if one else NOT_KNOWN
        return told

    def _work(self) -> dict[str, float | None]:
        """Return how much work each wanted node is; what several reference nodes share is divided among them evenly."""
        missing = self._wanted.missing
        work = {node.key: amounts.planned(node, self.known) for node in missing if node.stage is not Stage.reference}
        for group in self._references():
            whole = amounts.union(group, self._made(group[0]), self.known)
            work |= {node.key: None if whole is None else max(whole, 1.0) / len(group) for node in group}
        return work

    def _from_records(self, node: Node, amount: float | None) -> Told:
        taken = self._recorded.taken(node.stage, amounts.likeness(node.stage, node, self._look))
        shared = len(self._alike(node)) if node.stage is Stage.reference else 1
        whole = expect(taken, amount * shared) if amount else None
        if whole is None:
            return NOT_KNOWN
        return Told(whole.scaled(1 / shared), RECORDED, len(taken))

    def _references(self) -> Iterable[list[Node]]:
        """Group the wanted reference nodes that find each other's log-probs, which one worker computes for all."""
        groups: dict[tuple[str | None, str | None], list[Node]] = {}
        for node in self._wanted.missing:
            if node.stage is Stage.reference:
                groups.setdefault(self._of_one_store(node), []).append(node)
        return groups.values()

    def _alike(self, node: Node) -> list[Node]:
        return next(group for group in self._references() if node in group)

    def _made(self, node: Node) -> list[Manifest]:
        """Return the reference artifacts that lie there and share their log-probs with a node's."""
        there, shared = self._recorded.of_stage(Stage.reference), self._of_one_store(node)
        return [one for one in there if self._of_one_store(one) == shared]

    def _of_one_store(self, one: Node | Manifest) -> tuple[str | None, str | None]:
        """Return what reference nodes share that find each other's log-probs: those of one model, made alike."""
        return amounts.likeness(Stage.reference, one, self._look), one.inputs.get("base_model")

    # -------------------------------------------------------------------------------------------------------- machine
    def _calibration(self) -> Calibration | None:
        if self._hardware.launch is not Launch.plain:
            return None  # one process is measured
        machine = measured_machine.measured_for(self._machine, self._hardware, self._precision)
        found = measured_machine.kept(self._cache, machine, self._say)
        if found or not self._may_measure or not any(map(self._fitting, self._wanted.missing)):
            return found
        return measured_machine.measure(self._cache, machine, self._hardware, self._say)

    def _parameters(self, base: str) -> int | None:
        """Return a base model's parameters: counted where it lies there, else as its option says."""
        if facts := self._facts(Stage.base_model, base):
            return int(facts["parameters"])
        return self._wanted.config.model.parameters if base == self._base else None  # other arms' options are not here

    def _fitting(self, node: Node) -> int | None:
        """Return the parameters of a node's base model; None where they are not known or do not fit into the memory."""
        parameters = self._parameters(self._base_of(node))
        return None if parameters is None or self._too_large(parameters) else parameters

    def _base_of(self, node: Node) -> str:
        """Return the base model of a node; of one that was trained before, what that was trained from."""
        base = node.key if node.stage is Stage.base_model else node.inputs.get("base_model", "")
        while (
            made := self._look(Stage.sft, base) or self._look(Stage.base_model, base)
        ) and "base_model" in made.inputs:
            base = made.inputs["base_model"]
        return base

    def _too_large(self, parameters: int) -> bool:
        if self._hardware.device is Device.cuda:
            return False
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        copies = 1 if self._wanted.config.dpo.lora.r else TRAINED_COPIES
        return parameters * BYTES[self._precision] * copies > memory

    # -------------------------------------------------------------------------------------------------------- sources
    def _look(self, stage: Stage, key: str) -> Node | Manifest | None:
        return self._wanted.nodes.get(key) or self._manifest(stage, key)

    def _facts(self, stage: Stage, key: str) -> Mapping[str, Any] | None:
        manifest = self._manifest(stage, key)
        if manifest:
            return manifest.facts
        of_config = {Stage.feedback: self._of_data, Stage.sft: self._of_chats}.get(stage)
        return of_config(key) if of_config else None

    def _of_data(self, key: str) -> Mapping[str, Any] | None:
        """Return what a hub's dataset counts, where its option says so and it is not here yet."""
        node, data = self._wanted.nodes.get(key), prompts_of(self._wanted.config.data)
        if not (node and isinstance(data, UltraFeedback) and data.expected_prompts and data.path is None):
            return None
        if node.settings["data"].get("hub_id") != data.hub_id:
            return None
        return {"prompts": data.expected_prompts, "completions": data.expected_prompts * amounts.COMPLETIONS}

    def _of_chats(self, key: str) -> Mapping[str, Any] | None:
        """Return what a hub's set of conversations counts, likewise."""
        node, sft = self._wanted.nodes.get(key), self._wanted.config.sft
        if not (node and isinstance(sft, ChatSft) and sft.expected_conversations and sft.path is None):
            return None
        if node.settings["sft"].get("hub_id") != sft.hub_id:
            return None
        return {"conversations": sft.expected_conversations}

    def _read_manifest(self, stage: Stage, key: str) -> Manifest | None:
        try:
            return read_manifest(self._store.path(stage.name, key) / MANIFEST)
        except (UserError, OSError):  # whoever needs it says what is wrong with it
            return None


def elsewhere(hardware: Hardware) -> str:
    """Say why a profile does not run on this machine; "" where it does."""
    devices = cuda_devices() if hardware.device is Device.cuda else hardware.processes
    if hardware.launch is not Launch.plain and (hardware.nodes > 1 or devices < hardware.processes):
        return f"hardware={hardware.name} is another machine's ({hardware.processes} processes)"
    if devices < hardware.processes:
        return f"this machine has not the CUDA device of hardware={hardware.name}"
    return ""


def lasts(expected: Expected) -> str:
    """Return what something may take, and between which two times it should, as text."""
    ends = [lasting(expected.low), lasting(expected.high)]
    return f"about {lasting(expected.seconds)} ({' to '.join(dict.fromkeys(ends))})"
