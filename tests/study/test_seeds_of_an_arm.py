"""An arm is composed once for all of its seeds: that gives what composing each would, for every study there is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode

from notus_exp.config import composing
from notus_exp.config import loading as configuration
from notus_exp.config.folders import sweeps_dir
from notus_exp.disk import streams
from notus_exp.errors import UserError
from notus_exp.reporting.console import make_console
from notus_exp.study.launching.jobs import Jobs

SEEDS = (4, 7)
BESIDE = {"claims_probed": ["scores=[{runs: [a, b]}]"]}
"""What a study asks to be given."""
STUDIES = sorted(path.stem for path in sweeps_dir().glob("study/*.yaml"))


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    """Hydra's loader, as the command has it."""
    configuration.register()
    with initialize_config_dir(config_dir=str(configuration.conf_dir()), version_base="1.3"):
        yield GlobalHydra.instance().config_loader()


@pytest.fixture(scope="module")
def jobs(loader: Any) -> Jobs:
    """The jobs of a command that varies something."""
    master = loader.load_configuration("config", ["hydra.mode=MULTIRUN"], RunMode.MULTIRUN)
    launcher: Any = SimpleNamespace()
    return Jobs(loader, launcher, master, make_console(streams.err()))


def same(jobs: Jobs, overrides: list[str]) -> bool:
    """Say whether a run of an arm that was composed once, beside another one, is what it is when composed by itself."""
    with composing.composing_alike():
        jobs.load([*overrides, "seed=99"])  # so that what follows is not the first with these options
        once = list(jobs.load_seeds(overrides, SEEDS))
    assert [config.seed for config, _ in once] == list(SEEDS)
    return once[-1] == jobs.load([*overrides, f"seed={SEEDS[-1]}"])


@pytest.mark.parametrize("study", STUDIES)
def test_an_arm_of_a_study_is_composed_once(jobs: Jobs, study: str) -> None:
    content = yaml.safe_load((sweeps_dir() / "study" / f"{study}.yaml").read_text(encoding="utf-8"))
    arms = [*content["study"].get("arms", {"all": []}).values()]
    assert same(jobs, [f"study={study}", *BESIDE.get(study, []), *arms[-1]])


@pytest.mark.parametrize(
    "overrides",
    [
        ["+filters={max_pairs:3}", "selection=critique", "data=simulated"],
        ["evaluation=[verifiable]", "evaluation.verifiable.prompts=90", "dpo=kto"],
        ["filters={max_pairs:7}"],
        ["split.seed=${seed}"],
        ["data=mix", "data.sources=[{data:simulated,seed:${seed}},{data:simulated,corpus:other}]"],
        ["annotators=[{name:a,judge:mock,rubric:helpfulness}]"],
    ],
    ids=["group and mapping", "evaluations", "a whole mapping", "a reference", "a reference in a mix", "annotators"],
)
def test_what_an_arm_may_say(jobs: Jobs, overrides: list[str]) -> None:
    assert same(jobs, overrides)


def test_a_reference_to_the_seed_follows_it(jobs: Jobs) -> None:
    found = jobs.load_seeds(["split.seed=${seed}"], SEEDS)
    assert [config.split.seed for config, _ in found] == list(SEEDS)


def test_a_seed_that_cannot_be_is_refused_as_ever(jobs: Jobs) -> None:
    with pytest.raises(UserError) as each:
        jobs.load(["seed=-1"])
    with pytest.raises(UserError) as once:
        list(jobs.load_seeds([], [0, -1]))
    assert str(once.value) == str(each.value)


def test_seeds_share_nothing_that_one_could_change(jobs: Jobs) -> None:
    (first, chosen), (second, others) = jobs.load_seeds(["filters.valid_under=[average]"], SEEDS)
    assert first.filters is not second.filters
    assert first.filters.valid_under is not second.filters.valid_under
    assert chosen is not others


def test_files_of_options_are_read_anew_after_planning(loader: Any, jobs: Jobs, tmp_path: Path) -> None:
    own = tmp_path / "dpo" / "mine.yaml"
    own.parent.mkdir()
    places = loader.get_search_path()
    places.prepend(provider="command-line", path=f"file://{tmp_path}")
    loader.repository.initialize_sources(places)
    betas = []
    for beta in (0.2, 0.3):
        own.write_text(f"defaults: [lora, _self_]\nbeta: {beta}\n", encoding="utf-8")
        with composing.composing_alike():
            betas += [jobs.load(["dpo=mine", f"seed={seed}"])[0].dpo.beta for seed in SEEDS]
    assert betas == [0.2, 0.2, 0.3, 0.3]


def test_options_are_listed_once_and_an_arm_is_composed_once(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"listed": 0, "composed": 0}
    listed, composed = composing._list_defaults, Jobs._compose

    def listing(*given: Any, **named: Any) -> Any:
        counts["listed"] += 1
        return listed(*given, **named)

    def composition(self: Jobs, overrides: Any) -> Any:
        counts["composed"] += 1
        return composed(self, overrides)

    monkeypatch.setattr(composing, "_list_defaults", listing)
    monkeypatch.setattr(Jobs, "_compose", composition)
    with composing.composing_alike():
        for beta in ("0.1", "0.2", "0.3"):
            found = list(jobs.load_seeds(["selection=critique", f"dpo.beta={beta}"], range(5)))
            assert [config.dpo.beta for config, _ in found] == [float(beta)] * 5
    assert counts == {"listed": 1, "composed": 3}
