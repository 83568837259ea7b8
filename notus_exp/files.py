"""The file names inside artifacts: the writer of a file and all its readers take them from here."""

from __future__ import annotations

COMPLETIONS = "completions.parquet"
QUARANTINE = "quarantine.jsonl"
PAIRS = "pairs.parquet"
CURATION_JSON = "curation.json"
CURATION_HTML = "curation.html"
MODEL = "model"
REFERENCE = "reference.parquet"
GENERATIONS = "generations.parquet"
LIKELIHOODS = "likelihoods.parquet"
DIVERGENCE = "divergence.parquet"
METRICS = "metrics.json"
PREFERENCES = "preferences.parquet"
VERIFIABLE = "verifiable.parquet"
EVENTS = "events.jsonl"
MANIFEST = "manifest.json"
