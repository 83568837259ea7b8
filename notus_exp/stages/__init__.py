"""The contract that every stage is given."""
