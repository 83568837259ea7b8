"""Others' results: stored verdicts and tables of verdicts."""
