"""The rounds of a run beside each other: what each was trained on, and what came out."""
