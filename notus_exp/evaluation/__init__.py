"""Evaluations: the catalogue, a folder for each, and the stages that answer, judge and measure."""
