"""AlpacaEval: win rates against reference answers."""
