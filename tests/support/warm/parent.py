"""`python parent.py SCRIPT ARGUMENTS`: what `python -m notus_exp ARGUMENTS` does, with the script for Python."""

import runpy
import sys
from pathlib import Path

sys.executable = sys.argv.pop(1)
sys.path[0] = str(Path.cwd())
runpy.run_module("notus_exp", run_name="__main__", alter_sys=True)
