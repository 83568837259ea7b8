"""Base models, tokenisation, reference log-probs and DPO training: what runs in a worker process."""
