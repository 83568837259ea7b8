"""Which differences between the arms of a study are real: prompts and seeds counted, many contrasts corrected."""
