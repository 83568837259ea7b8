"""Who answered and judged is told where it is not the endpoint that is set now."""

from __future__ import annotations

import pytest

from notus_exp.config.endpoint_checks import DEFAULT_URL, DEFAULT_URL_VARIABLE
from notus_exp.run.endpoint_notes import endpoint_notes

OLD, NEW = "http://old:1/v1", "http://new:2/v1"


def test_what_another_address_gave_is_told_once_for_answers_and_once_for_verdicts() -> None:
    facts = {
        "generations_verifiable": {"endpoints": {OLD: 3}},
        "generations_verifiable_base": {"endpoints": {OLD: 3}},
        "judgments_alpaca_eval": {"endpoints": {OLD: 1, NEW: 4}},
        "judgments_mt_bench": {},
    }
    generation, judge = endpoint_notes(facts, {"generation": {"base_url": NEW}, "judge": {"base_url": NEW + "/"}})
    assert generation.startswith(f"6 of 6 answers were given by {OLD} (6), not by generation.base_url={NEW}")
    assert judge.startswith(f"1 of 5 verdicts were given by {OLD} (1), not by judge.base_url={NEW}")
    assert "not asked again" in judge


def test_an_annotator_is_told_of_by_its_name() -> None:
    facts = {"annotations_helpful": {"endpoints": {OLD: 2, NEW: 1}}, "annotations_other": {"endpoints": {OLD: 2}}}
    annotators = [{"name": "helpful", "judge": {"base_url": NEW}}, {"name": "other", "judge": {"name": "mock"}}]
    [note] = endpoint_notes(facts, {"annotators": annotators})
    assert note.startswith(f"2 of 3 verdicts were given by {OLD} (2), not by annotators.helpful.base_url={NEW}")


def test_nothing_is_told_where_all_is_as_it_is_set_or_nobody_noted_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DEFAULT_URL_VARIABLE, raising=False)
    facts = {
        "generations_x": {"endpoints": {NEW: 3}},
        "judgments_x": {"endpoints": {DEFAULT_URL: 1}},
        "judgments_y": {},
    }
    assert endpoint_notes(facts, {"generation": {"base_url": NEW}, "judge": {"base_url": None}}) == []
    assert endpoint_notes(facts, {"generation": {"name": "local"}, "judge": {"name": "mock"}}) == []
