"""Pushing to a hub: a stand-in on the loopback gets what lies in the folder, privately, and nothing knows the token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from notus_exp.errors import UserError
from notus_exp.exporting.handing_over import ExportRequest, export
from notus_exp.exporting.hub_push import repository
from support.exported_runs import RUN, made_run
from support.hub_server import TOKEN, HubServer

WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("push")
    policy = root / "policy"
    policy.mkdir()
    (policy / "adapter_config.json").write_text('{"base_model_name_or_path": "base_model-0123", "revision": null}')
    (policy / WEIGHTS).write_bytes(b"weights")
    (policy / "training_args.bin").write_bytes(b"a pickle")
    (policy / "README.md").write_text("the card of before")
    made_run(root / "outputs", policy=policy)
    return root / "outputs"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        yield server


def pushed(outputs: Path, to: Path, name: str = "hub:team/pairs", **more: object) -> list[tuple[str, str, bool]]:
    request = ExportRequest(RUN, to, "trl", outputs, push=name, **more)  # type: ignore[arg-type]
    return [(one.kind, one.url, one.private) for one in export(request).data["pushed"]]


def test_data_and_policy_go_to_private_repositories_of_one_name(outputs: Path, tmp_path: Path, hub: HubServer) -> None:
    assert pushed(outputs, tmp_path / "out") == [
        ("dataset", f"{hub.url}/datasets/team/pairs", True),
        ("model", f"{hub.url}/team/pairs", True),
    ]
    assert hub.private == {("dataset", "team/pairs"): True, ("model", "team/pairs"): True}
    for kind, below in (("dataset", tmp_path / "out"), ("model", tmp_path / "out/model")):
        files = {str(path.relative_to(below)): path.read_bytes() for path in below.rglob("*") if path.is_file()}
        lying = {name: content for name, content in files.items() if not name.startswith("model/")}
        assert hub.files[kind, "team/pairs"] == lying
    assert sorted(hub.files["model", "team/pairs"]) == ["README.md", "adapter_config.json", WEIGHTS]
    assert sum(path.endswith("/commit/main") for _, path in hub.requests) == 2


def test_public_is_said(outputs: Path, tmp_path: Path, hub: HubServer) -> None:
    found = pushed(outputs, tmp_path / "out", "hub:pairs", public=True, data_only=True)
    assert found == [("dataset", f"{hub.url}/datasets/me/pairs", False)]
    assert hub.private == {("dataset", "me/pairs"): False}


def test_no_file_leaves_for_a_repository_that_others_see(outputs: Path, tmp_path: Path, hub: HubServer) -> None:
    hub.private["model", "team/pairs"], hub.files["model", "team/pairs"] = False, {}
    with pytest.raises(UserError, match="everybody sees it, and --public is not given") as refused:
        pushed(outputs, tmp_path / "out")
    assert f"{tmp_path / 'out'} is whole" in refused.value.hint
    assert not any(hub.files.values())
    hub.private["model", "team/pairs"] = True
    with pytest.raises(UserError, match="it is private, and --public is given"):
        pushed(outputs, tmp_path / "again", public=True)


def test_a_second_export_is_a_second_commit(outputs: Path, tmp_path: Path, hub: HubServer) -> None:
    pushed(outputs, tmp_path / "out", data_only=True)
    pushed(outputs, tmp_path / "again", data_only=True)
    assert sum(path.endswith("/commit/main") for _, path in hub.requests) == 2


def test_the_token_is_in_no_file_and_in_no_word(outputs: Path, tmp_path: Path, hub: HubServer) -> None:
    pushed(outputs, tmp_path / "out")
    assert all(TOKEN.encode() not in content for files in hub.files.values() for content in files.values())
    hub.refuse["/api/datasets"] = 403
    with pytest.raises(UserError, match=r"the hub refuses dataset team/pairs \(403\)") as refused:
        pushed(outputs, tmp_path / "again")
    assert TOKEN not in str(refused.value)
    assert "HF_TOKEN" in str(refused.value)


def test_without_a_token_of_the_environment_nothing_is_written(
    outputs: Path, tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UserError, match="HF_TOKEN is not set"):
        pushed(outputs, tmp_path / "out")
    assert (hub.requests, list(tmp_path.iterdir())) == ([], [])


def test_a_hub_that_is_not_there_is_one_clear_error(
    outputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="HF_HUB_OFFLINE keeps this machine from the hub"):
        pushed(outputs, tmp_path / "offline")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match="--push: the hub cannot be reached"):
        pushed(outputs, tmp_path / "away")


@pytest.mark.parametrize("text", ["pairs", "hub:", "hub:a/b/c", "hub:a b", "https://host/a"])
def test_a_name_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no repository"):
        repository(text)


def test_names_of_repositories_are_taken_as_they_are() -> None:
    assert (repository("hub:pairs"), repository("hub:team/my.pairs-1")) == ("pairs", "team/my.pairs-1")
