"""The file names inside artifacts: the writer of a file and all its readers take them from here."""

from __future__ import annotations

import json
import os
from pathlib import Path

COMPLETIONS = "completions.parquet"
QUARANTINE = "quarantine.jsonl"
PAIRS = "pairs.parquet"
CURATION_JSON = "curation.json"
CURATION_HTML = "curation.html"
MODEL = "model"
REFERENCE = "reference.parquet"
GENERATIONS = "generations.parquet"
ANSWERS = "answers-{}.jsonl"
LEDGER = "judge_spending.jsonl"
VERDICT_CACHE = "verdicts.sqlite"
JUDGMENTS = "judgments.parquet"
BENCHMARKS = "benchmarks.json"
LIKELIHOODS = "likelihoods.parquet"
DIVERGENCE = "divergence.parquet"
METRICS = "metrics.json"
BY_PROMPT = "{}.parquet"
"""An evaluation's table by prompt, for its name."""
EVENTS = "events.jsonl"
MANIFEST = "manifest.json"
SAMPLES = "samples.json"
RUN_JSON = "run.json"
CONFIG_YAML = "config.yaml"
JOB = "job.json"
WORKER_ERROR = "error.json"
WORKER_RESULT = "made.json"
WORKER_LOG = "worker.log"


def append_line(path: Path, content: object) -> None:
    """Append a JSON line and see it onto the disk."""
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(content) + "\n")
        stream.flush()
        os.fsync(stream.fileno())
