"""Where things lie: the checkout, and what lies beside it and is read in place."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The checkout."""
CASES = ROOT.parent / "shared/cases"
"""Small inputs that failed, each with its right value."""
REPLAY = ROOT.parent / "shared/replay"
"""Real third-party data with known answers; tests that need it skip where it is absent."""
CASES = ROOT.parent / "shared/cases"
"""Small inputs with known right answers (README.md there); tests that need them skip where they are absent."""
