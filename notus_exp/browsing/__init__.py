"""Runs in the terminal: a list of them, one of them, what differs between two, and pairs to read."""
