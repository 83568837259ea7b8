"""Training a policy with DPO."""
