"""IFEval: instructions that a program verifies."""
