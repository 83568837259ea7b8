"""What is said of the data beside the results."""

from __future__ import annotations

from notus_exp.run.data_notes import column_notes, data_notes


def test_nothing_is_said_of_data_that_was_taken_as_it_is() -> None:
    facts = {"records": 12, "bad_rows": 0, "contradicting_scores": 0, "tied_scores": 0}
    assert data_notes(facts, {"rejected_replaced": 0}) == []
    assert data_notes({}, {}) == []
    assert data_notes({"records": 5, "bad_rows": 0}, {"pairs_out": 5}) == []  # as artifacts of earlier versions say


def test_what_was_set_aside_stripped_replaced_or_contradicts_is_counted_by_rule() -> None:
    facts = {
        "records": 15,
        "bad_rows": 3,
        "quarantined/duplicate_key": 2,
        "quarantined/unusable_number": 1,
        "stripped/repeated_prompt": 4,
        "stripped/transcript": 1,
        "emptied/repeated_prompt": 3,
        "kept/repeated_prompt": 2,
        "contradicting_scores": 3,
        "tied_scores": 2,
    }
    assert data_notes(facts, {"rejected_replaced": 1}) == [
        "3 records of 15 set aside: 2 by duplicate_key (a key stands twice in one object); 1 by unusable_number "
        "(not a usable number); quarantine.jsonl in the feedback's folder has them",
        "4 responses began with the prompt: stripped to the answer alone; data.repeated_prompts=keep leaves them",
        "1 response had the form of a transcript: stripped to the answer alone; data.repeated_prompts=keep leaves them",
        "3 responses began with the prompt: nothing was left after it was stripped, and curation leaves out empty "
        "responses; give the data its answers, or data.repeated_prompts=keep takes these as they are",
        "2 responses began with the prompt: kept as they are; data.repeated_prompts=strip takes the answer alone",
        "of 12 pairs 3 have scores that contradict the named sides, and 2 equal scores: "
        "the scores decide, not the sides",
        "in 1 pair the rejected response would have had the chosen one's text: another response took its place",
    ]


def test_of_a_mix_each_source_is_told_and_what_several_have() -> None:
    facts = {"records": 30, "bad_rows": 0, "prompts_in_several": 2, "contradicting_scores": 1, "tied_scores": 0,
             "scored_pairs": 10, "corpus_prompts/a": 7, "corpus_prompts/b": 3,
             "corpus_prompts_read/a": 20, "corpus_prompts_read/b": 3}  # fmt: skip
    assert data_notes(facts, {})[0] == "the mix has 7 of 20 prompts of a, 3 of 3 prompts of b"
    assert data_notes(facts, {"corpus_pairs/a": 6, "corpus_pairs/b": 1}) == [
        "the mix has 7 of 20 prompts of a (6 pairs), 3 of 3 prompts of b (1 pair)",
        "2 prompts of the mix stand in more than one source; filters.duplicate_prompts=true takes each once",
        "of 10 pairs 1 has scores that contradict the named sides, and 0 equal scores: "
        "the scores decide, not the sides",
    ]


def test_one_is_told_as_one() -> None:
    facts = {"records": 1, "bad_rows": 0, "prompts_in_several": 1, "contradicting_scores": 1, "tied_scores": 0,
             "scored_pairs": 1, "corpus_prompts/a": 1, "corpus_prompts_read/a": 1}  # fmt: skip
    assert data_notes(facts, {"corpus_pairs/a": 1}) == [
        "the mix has 1 of 1 prompt of a (1 pair)",
        "1 prompt of the mix stands in more than one source; filters.duplicate_prompts=true takes it once",
        "of 1 pair 1 has scores that contradict the named sides, and 0 equal scores: the scores decide, not the sides",
    ]


def test_a_column_that_some_completions_have_not_is_noted_with_the_reasons() -> None:
    whole = {"completions": 8, "tokens/with_score": 8, "tokens/without_score": 0}
    assert column_notes(whole) == []
    facts = {**whole, "armorm/without_score": 3, "armorm/unmatched": 2, "armorm/double": 0, "armorm/missing": 1}
    assert column_notes(facts) == [
        "the column armorm is missing for 3 of 8 completions; scores of its file that fit no completion: 2; "
        "rows without a usable number: 1"
    ]


def test_what_the_curation_counts_in_several_sources_is_told_in_place_of_what_the_feedback_did() -> None:
    facts = {"records": 3, "bad_rows": 0, "prompts_in_several": 2, "corpus_prompts/a": 3, "corpus_prompts_read/a": 3}
    assert len(data_notes(facts, {"corpus_pairs/a": 1})) == 2
    assert data_notes(facts, {"corpus_pairs/a": 1, "prompts_in_several": 0}) == [
        "the mix has 3 of 3 prompts of a (1 pair)"
    ]


def test_scores_that_are_means_over_different_numbers_of_runs_are_noted() -> None:
    facts = {"completions": 8, "p/without_score": 0, "p/prompts_by/1": 1, "p/prompts_by/2": 3}
    assert column_notes(facts) == [
        "the column p is the mean over different numbers of runs (1 prompt by 1, 3 prompts by 2), and that over more "
        "spreads less"
    ]


def test_prompts_that_are_the_common_beginning_of_texts_are_noted() -> None:
    facts = {"records": 3, "bad_rows": 0, "common_beginnings": 2}
    assert data_notes(facts, {}) == ["the prompt of 2 records is what the texts of the answers begin with in common"]


def test_answers_that_are_missing_and_passed_over_are_noted() -> None:
    facts = {"records": 3, "bad_rows": 0, "answers_passed_over": 1}
    assert data_notes(facts, {}) == ["1 answer missing in lists of answers, passed over as data.mapping allows"]
