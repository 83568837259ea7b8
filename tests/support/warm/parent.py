"""`python parent.py ADDRESS ARGUMENTS`: what `python -m notus_exp ARGUMENTS` does, its workers warm."""

import os
import runpy
import sys
from pathlib import Path

os.environ["WARM_ADDRESS"] = sys.argv.pop(1)
os.environ["WARM_PYTHON"] = sys.executable
sys.path[0] = str(Path.cwd())
sys.executable = str(Path(__file__).with_name("python"))
runpy.run_module("notus_exp", run_name="__main__", alter_sys=True)
