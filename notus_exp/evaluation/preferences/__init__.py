"""Does the implicit reward order completions as each labelling does?"""
