"""A run handed over: pairs in layouts of others, the policy, a config of other trainers, and cards that say of what."""
