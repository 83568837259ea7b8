"""Annotators: judges that rate the completions of the feedback, which become columns of expressions."""
