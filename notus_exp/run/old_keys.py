"""What keys hold beside the settings of their group: for artifacts made before each judge had its own schema.

Every judge had the settings of all judges then, and those that it does not read entered the keys of its verdicts too,
at the values of its file in conf/judge/. They still do, so that these artifacts are found. A judge that came later has
nothing here.
"""

from __future__ import annotations

from typing import Any

JUDGE: dict[str, dict[str, Any]] = {
    "openai": {"revision": "main", "max_length": 4096},
    "mock": {"top_logprobs": 5, "revision": "main", "max_length": 4096},
    "replay": {
        "snapshot": None,
        "parser": "ranking",
        "both_orders": False,
        "temperature": 0.0,
        "max_tokens": 1024,
        "seed": None,
        "top_logprobs": 5,
        "revision": "main",
        "max_length": 4096,
    },
    "reward_model": {
        "snapshot": None,
        "parser": "ranking",
        "both_orders": False,
        "temperature": 0.0,
        "max_tokens": 1024,
        "seed": None,
        "top_logprobs": 5,
    },
}
"""Name of a judge -> what it does not read."""
