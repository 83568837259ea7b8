"""lm-evaluation-harness as a stage: own task files, no code from them, and its values under our names."""

import copy
import json
import math

import pytest

from notus_exp.config.evaluation_settings import LMEvalEvaluation
from notus_exp.disk import files
from notus_exp.errors import UserError
from notus_exp.evaluation.lm_eval import harness as benchmarks
from notus_exp.evaluation.lm_eval.own_tasks import check_task_files
from notus_exp.evaluation.lm_eval.results import estimates, usable_results
from notus_exp.evaluation.lm_eval.tasks import check_tasks, task_manager
from notus_exp.stages.settings import BenchmarksSettings

TASK = """
task: sums
dataset_path: json
dataset_kwargs: {data_files: {test: DATA}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}} ="
doc_to_choice: ["2", "3", "4"]
doc_to_target: "{{answer}}"
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def content(values, value, stderr=0.1):
    by_question = {str(number): float(one) for number, one in enumerate(values)}
    return {
        "results": {"sums": {"acc": {"value": value, "stderr": stderr, "n": len(values)}}},
        "questions": {"sums": {"acc": by_question}},
    }


def test_values_carry_the_harnesss_errors_and_differences_are_paired_by_question():
    found = estimates(content([1, 1, 0, 1], 0.75), content([0, 1, 0, 1], 0.5))
    policy = found["lm_eval/sums/acc"]
    assert (policy.value, policy.n) == (0.75, 4)
    assert policy.high - policy.value == pytest.approx(1.959964 * 0.1, abs=1e-6)
    assert found["base/lm_eval/sums/acc"].value == 0.5
    difference = found["difference/lm_eval/sums/acc"]
    assert (difference.value, difference.n) == (0.25, 4)  # one question of four, won by the policy alone


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e40])
def test_a_value_that_cannot_be_computed_with_is_left_out_and_said(value):
    kept, lost = usable_results(content([1, value], value))
    assert lost == [f"sums/acc is {value:g}"]
    assert estimates(kept, kept) == {}
    kept, lost = usable_results(content([1, 0], 0.5, stderr=value))
    assert lost == []
    assert math.isnan(estimates(kept, kept)["lm_eval/sums/acc"].low)


def test_a_metric_that_is_no_mean_over_questions_has_no_difference():
    found = estimates(content([1, 1], 7.5, stderr=None), content([0, 1], 0.5))
    assert "difference/lm_eval/sums/acc" not in found
    assert math.isnan(found["lm_eval/sums/acc"].low)


@pytest.fixture
def asked(tmp_path, tiny_model_folder, context):
    folders = {"base_model": tmp_path / "base_model-0", "tasks": tmp_path / "tasks", "out": tmp_path / "out"}
    for folder in folders.values():
        folder.mkdir()
    (folders["base_model"] / files.MODEL).symlink_to(tiny_model_folder)
    data = folders["tasks"] / "sums.jsonl"
    data.write_text("".join(json.dumps({"question": f"1 + {n}", "answer": n - 1}) + "\n" for n in (1, 2, 3)))
    (folders["tasks"] / "sums.yaml").write_text(TASK.replace("DATA", str(data)))

    def run(*tasks):
        asked = LMEvalEvaluation("lm_eval", list(tasks), None, None, None, False, 0)
        settings = BenchmarksSettings(asked, "digest", "", "float32")
        where = context(sources={"lm_eval.include_path": [str(folders["tasks"])]})
        return benchmarks.run(settings, {"base_model": folders["base_model"]}, folders["out"], where)

    return run, folders


def test_an_own_task_is_asked_and_each_question_is_kept(asked):
    pytest.importorskip("lm_eval")
    run, folders = asked
    assert run("sums") == {"tasks": 1, "questions": 3}
    found = json.loads((folders["out"] / files.BENCHMARKS).read_text())
    values = found["questions"]["sums"]["acc"]
    assert set(values) == {"0", "1", "2"}
    assert found["results"]["sums"]["acc"]["value"] == pytest.approx(sum(values.values()) / 3)


ALIASES = "a0: &a0 1\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 9)}]\n" for n in range(40))
CODE = {
    "a function": "process_docs: !function module.name",
    "a function in another spelling": "doc_to_text: !%66unction module.name",
    "a function of Python": "doc_to_text: !!python/name:os.system",
    "a metric of a path": "metric_list: [{metric: acc}, {metric: /tmp/evil.py, aggregation: mean}]",
    "a metric of the hub": "metric_list: [{metric: owner/repo}]",
    "a metric of the hub's own": "metric_list: [{metric: rouge}]",
    "a known metric, asked of the hub": "metric_list: [{metric: acc, hf_evaluate: true}]",
    "a metric without a list": "metric_list: {metric: owner/repo}",
    "a metric by an alias": "metadata: {m: &m {metric: owner/repo}}\nmetric_list: [*m]",
    "a metric by a merge": "metadata: &m {metric: owner/repo}\nmetric_list: [{<<: *m}]",
    "a metric of a task within a group": "group: g\ntask: [{task: t, metric_list: [{metric: owner/repo}]}]",
    "a metric that is no text": "metric_list: [{metric: [acc]}]",
    "a filter by a function": "filter_list: [{name: f, filter: [{function: custom, filter_fn: f}]}]",
    "a class": "class: module.Task",
    "a function by its name": "process_results: module.name",
    "a loader": "custom_dataset: module.name",
    "a generation by a program": "generation_kwargs: {custom_generate: /tmp/evil}",
    "remote code": "dataset_kwargs: {trust_remote_code: true}",
    "unsafe code": "unsafe_code: true",
    "a data set's program": "dataset_path: /tmp/evil.py",
    "another file": "include: ../elsewhere.yaml",
    "another file of prompts": "use_prompt: /tmp/mine.yaml:one",
}


@pytest.mark.parametrize("name", CODE)
def test_a_task_file_that_names_code_or_a_file_is_refused(tmp_path, name):
    (tmp_path / "evil.yaml").write_text(f"task: evil\n{CODE[name]}\n")
    with pytest.raises(UserError, match=r"evil\.yaml(:| names code| includes another file)"):
        task_manager(["evil"], [str(tmp_path)])
    with pytest.raises(UserError, match=r"evil\.yaml"):  # before anything is made, and without the harness
        check_tasks(["evil"], [str(tmp_path)])


def test_a_data_set_that_is_a_folder_with_a_program_is_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "evil.yaml").write_text(f"task: evil\ndataset_path: {tmp_path / 'data'}\n")
    check_task_files(tmp_path)
    (tmp_path / "data" / "data.py").write_text("")
    with pytest.raises(UserError, match="holds a Python program"):
        check_task_files(tmp_path)


@pytest.mark.parametrize("text", ["task: [", "a: *b", "a: \xff", "a: 2024-02-31", "[" * 5000, "? {}\n: 1"])
def test_a_task_file_that_is_no_yaml_is_named(tmp_path, text):
    (tmp_path / "evil.yaml").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=r"evil\.yaml (cannot be read as YAML|is nested too deep)"):
        check_task_files(tmp_path)


def test_a_task_file_of_data_alone_passes(tmp_path):
    (tmp_path / "sums.yaml").write_text(
        TASK + ALIASES + "unsafe_code: false\ngeneration_kwargs: {until: [x], do_sample: false}\n"
        "filter_list: [{name: n, filter: [{function: regex, regex_pattern: x}, {function: take_first}]}]\n"
    )
    (tmp_path / "group.yaml").write_text("group: g\ntask: [sums]\naggregate_metric_list: [{metric: own}]\n")
    check_task_files(tmp_path)


def test_a_template_that_reaches_for_code_is_refused(asked):
    pytest.importorskip("lm_eval")
    run, folders = asked
    reach = '"{{ cycler.__init__.__globals__ }}"'
    text = (folders["tasks"] / "sums.yaml").read_text().replace('"{{question}} ="', reach)
    (folders["tasks"] / "sums.yaml").write_text(text)
    with pytest.raises(UserError, match="reaches for code"):
        run("sums")


def test_an_unknown_task_names_the_nearest(asked):
    pytest.importorskip("lm_eval")
    run, _ = asked
    with pytest.raises(UserError, match=r"'summs' is no task\n.*sums"):
        run("summs")


def test_without_the_harness_the_remedy_is_named(asked, monkeypatch):
    run, _ = asked
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    with pytest.raises(UserError, match=r"not installed\n.*notus-exp\[lm_eval\]"):
        run("sums")


def test_its_chats_are_rendered_as_everywhere(tiny_tokenizer):
    class Harness:
        def __init__(self, tokenizer):
            self.tokenizer = tokenizer

    dated = copy.deepcopy(tiny_tokenizer)
    dated.chat_template = "{{ strftime_now('%Y') }}" + dated.chat_template
    turns = [{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "It is"}]
    chatting = benchmarks._chatting(Harness, "2024-07-26")(dated)
    assert chatting.apply_chat_template(turns[:1]).startswith("2024<|im_start|>user\n1 + 1?")
    assert chatting.apply_chat_template(turns, add_generation_prompt=False).endswith("assistant\nIt is")
    with pytest.raises(UserError, match=r"model\.template_date"):
        benchmarks._chatting(Harness, None)(dated).apply_chat_template(turns)
