"""One run: plan, making, recording."""
