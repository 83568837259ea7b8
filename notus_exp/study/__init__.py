"""Studies: many runs from one command, what they showed, and how sure that is."""
