"""Tables, the terminal and what the reporting commands share."""
