"""--version is ours, and --help names what there is."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

from notus_exp.config.loading import sweeps_dir


def _printed(flag: str) -> str:
    done = subprocess.run([sys.executable, "-m", "notus_exp", flag], capture_output=True, text=True, check=True)
    return done.stdout


def test_version_names_the_package_and_its_libraries() -> None:
    lines = _printed("--version").splitlines()
    assert lines[0].startswith("notus-exp ")
    for library in ("torch", "trl", "transformers", "wandb", "hydra-core"):
        assert f"  {library} {importlib.metadata.version(library)}" in lines


def test_help_lists_every_study_the_flags_and_the_other_commands() -> None:
    text = _printed("--help")
    for study in sweeps_dir().glob("study/*.yaml"):
        assert study.stem in text
    for word in ("-m, --multirun", "-q, --quiet", "-v, --verbose", ".compare", ".power", ".score", ".artifacts"):
        assert word in text
