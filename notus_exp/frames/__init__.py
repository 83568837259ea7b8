"""Runs and studies as data: Polars frames with a fixed schema, for notebooks and own plots."""
