"""The columns of completions that are made or read: scores joined from files, tokens, log-probs, probes' rewards."""
