"""Base models: loading, tokens, log-probs, the reference and its store."""
