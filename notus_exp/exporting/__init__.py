"""A run handed over: its pairs in others' layouts, its policy, a config of others' trainers, and cards that say of what."""
