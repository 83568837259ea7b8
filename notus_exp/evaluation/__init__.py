"""Evaluations of base and tuned policy on the same prompts, one file per evaluation."""
