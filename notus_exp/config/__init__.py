"""The configuration: types, ranges, composing, what the command line must not say."""
