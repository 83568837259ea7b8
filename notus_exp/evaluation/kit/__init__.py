"""What every evaluation is made with: its description, its entrance, both sides' verdicts, published files."""
