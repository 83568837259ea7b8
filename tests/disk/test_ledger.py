"""What judges cost is written down as it is spent, and a later attempt goes on from there."""

from notus_exp.disk.ledger import Ledger


def test_a_later_attempt_goes_on_from_what_was_spent(tmp_path):
    path = tmp_path / "spending.jsonl"
    first = Ledger(path)
    assert (first.usd, first.tokens) == (0.0, 0)
    first.add(0.25, 100)
    first.add(0.5, 30)
    with path.open("a") as stream:
        stream.write('{"usd": 9, "tok')  # killed while writing
    again = Ledger(path)
    assert (again.usd, again.tokens) == (first.usd, first.tokens) == (0.75, 130)
