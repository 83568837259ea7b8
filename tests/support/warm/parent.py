"""`python parent.py SCRIPT ARGUMENTS`: what `python -m notus_exp ARGUMENTS` does, with the script for Python."""

import contextlib
import runpy
import sys
from pathlib import Path

sys.executable = sys.argv.pop(1)
sys.path[0] = str(Path.cwd())

import notus_exp.run.warm_workers  # noqa: E402  # from there, as the command does

notus_exp.run.warm_workers.keeping_warm = contextlib.nullcontext  # the tests' own process loads libraries once for all
runpy.run_module("notus_exp", run_name="__main__", alter_sys=True)
