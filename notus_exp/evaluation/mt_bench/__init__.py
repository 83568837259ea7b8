"""MT-Bench: ratings of two-turn answers."""
