"""Verdicts on answers, from any judge: prompts, parsers, a cache of raw replies, and the judges themselves."""
