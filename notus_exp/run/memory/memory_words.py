"""The plan of memory in words: a table of parts by stage, a line beside what there is, and what would fit."""

from __future__ import annotations

from collections.abc import Collection

from notus_exp.config.hardware_settings import Device
from notus_exp.config.schema import Config, Stage
from notus_exp.errors import UserError
from notus_exp.machine.memory_size import machine_bytes
from notus_exp.models.shapes import Shape
from notus_exp.reporting.tables import Table
from notus_exp.run.memory.memory_stages import GB, Available, Computing, available, stage_needs
from notus_exp.run.memory.nearest import ROOM, Remedy, remedies
from notus_exp.run.memory.need import PARTS, fullest

LARGEST_CARD = 80 * GB
"""What is held against a need where a device's memory is not known: the memory of an A100 or H100."""
CANNOT_TELL = (
    "memory: it cannot be told, since the model's config.json is not at hand, or of an architecture that is not known "
    "here; model.shape says it otherwise"
)


class MemoryPlan:
    """What a run's stages need of a device's memory, and whether it is there.

    Args:
        config: The run's.
        shape: Its model's; None where nothing tells it.
        stages: Those that are to be made.
    """

    def __init__(self, config: Config, shape: Shape | None, stages: Collection[Stage]) -> None:
        self._config, self._shape = config, shape
        self._work = Computing.of(config, stages)
        self.needs = stage_needs(shape, config.dpo, config.hardware, self._work) if shape else []
        self.available: Available = available(config.hardware)

    @property
    def fits(self) -> bool:
        """Say whether everything that is known to be needed is known to be there, or nothing is known of either."""
        most = self.available.bytes
        return not self.needs or most is None or fullest(self.needs).total <= most

    def lines(self) -> list[str]:
        """Return what a plan says of it, beside the table."""
        if not self.needs:
            asked = self._work.trains or self._work.tuned or self._work.scored or self._work.new_tokens
            return [CANNOT_TELL] if self._shape is None and asked else []
        need, hardware = fullest(self.needs), self._config.hardware
        most = self.available.bytes
        beside = f"; and of a node's own memory up to {_gb(self._of_node())} GB" if self._of_node() else ""
        place = "a device" if hardware.device is not Device.cpu else "of memory"
        if most is None:
            told = (
                f"memory: needs {_gb(need.total)} GB {place}{beside}; what there is is not known (hardware.memory_gb)"
            )
            if need.total > LARGEST_CARD:
                told += f": more than a card of {_gb(LARGEST_CARD)} GB has. {self._nearest(LARGEST_CARD)}"
            return [told, self._assumed()]
        told = f"memory: needs {_gb(need.total)} of {_gb(most)} GB {place}, in stage {need.stage} ({need.moment})"
        if not self.fits:
            told += f": it does not fit. {self._nearest(most)}"
        elif need.total > ROOM * most:
            told += f", which is close: peaks up to {1 / ROOM - 1:.0%} above a plan were measured"
        told += beside
        return [told, self._assumed()]

    def table(self) -> Table | None:
        """Return a table of the fullest moment of each stage, by part, in GB; None where nothing is to be told."""
        if not self.needs:
            return None
        shown = [part for part in PARTS if any(need.parts.get(part) for need in self.needs)]
        rows = [
            [need.stage, need.moment, *(_gb(need.parts.get(part, 0.0)) for part in shown), _gb(need.total)]
            for need in self.needs
        ]
        return Table(
            "Memory of a device at its fullest, GB", ["stage", "moment", *shown, "together"], rows, left=("moment",)
        )

    def doubt(self) -> str | None:
        """Return what is said of a run that is begun though its longest texts may not fit; None where they do.

        Of a machine's own memory beside a device's, of which the plan is rougher, this alone is said.
        On the processor, whose memory other programs share and few texts fill: smaller batches alone would do, and
        where memory does run out they are taken. A profile that says how much there is (`hardware.memory_gb`) is held
        to.
        """
        if self.needs and self._config.hardware.device is Device.cuda:
            there = machine_bytes()
            if there is None or self._of_node() <= there:
                return None
            return f"memory: up to {_gb(self._of_node())} GB of the machine's own are needed, and it has {_gb(there)}"
        if self.fits or self.available.configured or self._config.hardware.device is not Device.cpu:
            return None
        found = self._remedies(self.available.bytes or 0.0)
        return None if any(one.other_results or one.more_devices for one in found) or not found else self.lines()[0]

    def check(self) -> None:
        """Refuse a run that does not fit, unless it is only doubted (`doubt`).

        Raises:
            UserError: With what it needs by part, what there is, and the nearest setting that fits.
        """
        if self.fits or (self.doubt() and self._config.hardware.device is Device.cpu):
            return
        need, most = fullest(self.needs), self.available.bytes or 0.0
        parts = ", ".join(f"{name} {_gb(size)}" for name, size in need.parts.items() if size >= GB / 20)
        raise UserError(
            f"stage {need.stage} needs {_gb(need.total)} GB of memory ({need.moment}: {parts}), and "
            f"hardware={self._config.hardware.name} has {_gb(most)}",
            self._nearest(most) + "; where there is more memory than that, hardware.memory_gb=GB says so",
        )

    def _of_node(self) -> float:
        """Return the bytes that a node's processes need of its own memory beside their devices'."""
        hardware = self._config.hardware
        return max(one.host for one in self.needs) * hardware.processes / hardware.nodes

    def _remedies(self, most: float) -> list[Remedy]:
        assert self._shape is not None
        return remedies(self._shape, self._config.dpo, self._config.hardware, self._work, most)

    def _nearest(self, most: float) -> str:
        found = self._remedies(most)
        if not found:
            return "No setting that is known here fits: choose a smaller model"
        return "The nearest that fits: " + "; or ".join(map(_told, found))

    def _assumed(self) -> str:
        config = self._config
        longest = f"dpo.max_length={config.dpo.max_length}"
        longest += f", of sft as sft.max_length={self._work.tuned.max_length}" if self._work.tuned else ""
        parts = [f"assumed: all texts as long as {longest}, padded"]
        parts.append(f"attention {config.hardware.attention}")
        if config.hardware.activation_checkpointing:
            parts.append("activations of one block at a time (hardware.activation_checkpointing)")
        return ", ".join(parts) + "; a judge's own model is not counted"


def _told(remedy: Remedy) -> str:
    kind = " (results are other ones)" if remedy.other_results else ""
    return f"{' '.join(remedy.overrides)}, which needs {_gb(remedy.needed)} GB{kind}"


def _gb(size: float) -> str:
    """Return bytes as GB: whole ones from ten on, below that with a digit behind the point."""
    return f"{size / GB:.0f}" if size >= 9.95 * GB else f"{size / GB:.1f}"
