"""What a study consists of: its arms, their runs, planned, prepared and launched; study.json."""
