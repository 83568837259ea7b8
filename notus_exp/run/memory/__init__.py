"""Memory told before a run: what each stage holds at its fullest moment, by arithmetic, from config.json alone."""
