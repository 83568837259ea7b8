"""From raw feedback of any source to the canonical completions table."""
