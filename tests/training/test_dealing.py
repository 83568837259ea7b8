"""A global batch is dealt out to processes, each row once, whatever their number."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from notus_exp.training.dealing import ABSENT, DealtBatches, StandIn, gathered_by_row


@given(
    pairs=st.integers(1, 40), share=st.integers(1, 4), micro=st.integers(1, 3), processes=st.integers(1, 4),
    unit=st.integers(1, 2),
)  # fmt: skip
def test_each_batch_is_dealt_out_once_and_every_process_has_as_many_passes(pairs, share, micro, processes, unit):
    batch = unit * micro * share * processes
    order = list(range(pairs * unit))[::-1] if unit == 1 else list(range(pairs * unit))
    dealt = [DealtBatches(order, batch, unit * micro, unit, processes, rank) for rank in range(processes)]
    passes = [list(one) for one in dealt]
    assert {len(one) for one in passes} == {len(dealt[0])}
    together = [[row for one in step for row in one] for step in zip(*passes, strict=True)]
    of_batch = []
    for start in range(0, len(order), batch):
        expected, found = order[start : start + batch], []
        while len(found) < len(expected):
            found += together.pop(0)
        of_batch.append(sorted(found) == sorted(expected))
    assert all(of_batch), "a global batch is that of one process"
    assert not together
    sizes = [[len(one) for one in step] for step in zip(*passes, strict=True)]
    assert all(max(step) - min(step) <= unit and max(step) <= unit * micro for step in sizes)
    assert all(len(one) % unit == 0 for process in passes for one in process)


def test_one_process_has_the_passes_of_a_plain_loader():
    order = list(range(11))
    assert list(DealtBatches(order, 8, 2, 1, 1, 0)) == [[0, 1], [2, 3], [4, 5], [6, 7], [8, 9], [10]]


def test_rows_of_a_pair_stay_together():
    dealt = [list(DealtBatches(range(10), 8, 2, 2, 2, rank)) for rank in (0, 1)]
    assert dealt == [[[0, 1], [4, 5], [8, 9]], [[2, 3], [6, 7], []]]


def test_a_process_without_pairs_takes_part_with_others_that_are_marked():
    collate = StandIn(lambda examples: {"rows": torch.tensor(examples)}, [7])
    assert collate([1, 2]).keys() == {"rows"}
    stands_in = collate([])
    assert stands_in["rows"].tolist() == [7]
    assert ABSENT in stands_in


class Accelerator:
    """The second of three processes, as far as gathering goes; the others give what a test says."""

    num_processes, process_index, device = 3, 1, torch.device("cpu")

    def __init__(self, first, third):
        self._first, self._third = list(first), list(third)

    def gather(self, value):
        parts = (torch.as_tensor(self._first.pop(0)), value, torch.as_tensor(self._third.pop(0)))
        return torch.cat([part.reshape(1) if part.dim() == 0 else part for part in parts])

    gather_for_metrics = gather


@pytest.mark.parametrize("absent", [False, True])
def test_what_processes_give_is_cut_to_their_rows_and_stand_ins_give_nothing(absent):
    # presence, then sizes and padded values of rows, then a value of each process
    first = [[1], [3], [1.0, 2.0, 3.0], 10.0]
    third = [[1], [1], [6.0, 0.0, 0.0], 30.0]
    accelerator = Accelerator(first, third)
    with gathered_by_row(accelerator, absent=absent):
        rows = accelerator.gather(torch.tensor([4.0, 5.0]))
        means = accelerator.gather_for_metrics(torch.tensor(20.0))
    assert rows.tolist() == [1.0, 2.0, 3.0, *([] if absent else [4.0, 5.0]), 6.0]
    assert means.tolist() == [10.0, *([] if absent else [20.0]), 30.0]
    assert accelerator.gather.__func__ is Accelerator.gather
