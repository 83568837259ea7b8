"""Unseen constraint prompts, answered and checked by program."""
