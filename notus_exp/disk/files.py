"""The file names inside artifacts: the writer of a file and all its readers take them from here."""

from __future__ import annotations

COMPLETIONS = "completions.parquet"
QUARANTINE = "quarantine.jsonl"
ANNOTATIONS = "annotations.parquet"
ANNOTATOR_JSON = "annotator.json"
COLUMNS = "columns.parquet"
PAIRS = "pairs.parquet"
CURATION_JSON = "curation.json"
CURATION_HTML = "curation.html"
MODEL = "model"
REFERENCE = "reference.parquet"
GENERATIONS = "generations.parquet"
ANSWERS = "answers-{}.jsonl"
MERGED = "merged"
"""A policy with its adapter merged, while a server reads it; no artifact keeps it."""
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
DEEPSPEED = "deepspeed.json"
"""Beside it what DeepSpeed is told, for a reader."""
WORKER_ERROR = "error.json"
WORKER_LOST = "lost.json"
WORKER_BEATS = "beats"
"""Folder in which each process of a worker says that it lives."""
WORKER_RESULT = "made.json"
WORKER_LOG = "worker.log"
SERVER_LOG = "server.log"
LIBRARIES_LOG = "libraries.log"

UNEQUAL = (MANIFEST, EVENTS, RUN_JSON)
"""The files in which a repeated run may differ from the first one, and that only in what `MEASURED` names."""
MEASURED = (
    *("time", "seconds", "seconds_when_made", "device_seconds", "device_seconds_if_nothing_were_reused"),
    *("started", "finished", "attempts", "provenance", "peak_memory_bytes", "throughput"),
)
"""Keys whose values are measured anew by each run: times, attempts and what they were made with, memory."""
FOR_PEOPLE = (EVENTS, CURATION_HTML, "README.md", "*.svg")
"""Patterns of the files in artifacts that no stage reads: other bytes in one move nothing that is made from it."""
