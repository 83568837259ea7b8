"""Answers that are made here: who answers which prompt, told what, and the stage in which one writer answers."""
