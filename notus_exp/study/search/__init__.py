"""Searches by Optuna, on ask and tell: what is tried, what is measured, who works on which trial, what came out."""
