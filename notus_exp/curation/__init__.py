"""From rated completions to preference pairs, and the report on what the curation did."""
