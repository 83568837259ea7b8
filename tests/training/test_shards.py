"""Checkpoints of shards: read by any number of processes, and never as anything but tensors."""

import pickle

import pytest
import torch
from torch import nn

from notus_exp.training.shards import Key, index, load_shards, read, save_shards


def trained_once(seed, optimizer):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[1].bias.requires_grad_(False)
    made = optimizer(model.parameters(), lr=0.1)
    model(torch.ones(2, 3)).square().sum().backward()
    made.step()
    return model, made


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.RMSprop, torch.optim.SGD])
def test_weights_and_the_optimisers_state_come_back(optimizer, tmp_path):
    model, made = trained_once(0, optimizer)
    save_shards(model, made, tmp_path / "shards")
    other = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    other[1].bias.requires_grad_(False)
    fresh = optimizer(other.parameters(), lr=0.1)
    load_shards(other, fresh, tmp_path / "shards")
    for (name, one), (_, two) in zip(model.named_parameters(), other.named_parameters(), strict=True):
        if one.requires_grad:
            assert torch.equal(one, two)
            assert {k: v.tolist() for k, v in fresh.state[two].items()} == {
                k: v.tolist() for k, v in made.state[one].items() if v is not None
            }
            assert torch.equal(read(tmp_path / "shards", Key("", name)), one)
    assert Key("", "1.bias") not in index(tmp_path / "shards"), "it is the base model's"


class Sly:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize("kind", ["another class", "in an index"])
def test_an_index_that_asks_for_anything_else_is_refused_before_it_is_made(kind, tmp_path, capfd):
    model, made = trained_once(0, torch.optim.AdamW)
    save_shards(model, made, tmp_path / "shards")
    path = tmp_path / "shards" / ".metadata"
    found = pickle.loads(path.read_bytes())  # noqa: S301 - written above
    found.planner_data = {"sly": Sly()}
    path.write_bytes(pickle.dumps(Sly() if kind == "another class" else found))
    with pytest.raises(pickle.UnpicklingError, match=r"builtins\.print"):
        load_shards(model, made, tmp_path / "shards")
    assert "run" not in capfd.readouterr().out
