"""What `python -m notus_exp.score` says of stored verdicts: one module a subcommand, each a function to a `Report`."""
