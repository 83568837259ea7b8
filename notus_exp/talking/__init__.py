"""A conversation in the terminal with the base model and the policy of a run, side by side."""
