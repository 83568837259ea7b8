"""Where things lie: the checkout, and what lies beside it and is read in place."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
REPLAY = ROOT.parent / "shared/replay"
"""Real third-party data with known answers; tests that need it skip where it is absent."""
CASES = ROOT.parent / "shared/cases"
"""Small inputs with known right answers (README.md there); tests that need them skip where they are absent."""

IMPORTABLE = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
"""What a process of Python that is to import from `tests/support` is given; pytest tells its own process alone."""
