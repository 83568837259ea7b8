"""A model's answers to questions."""
