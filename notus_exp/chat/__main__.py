"""The command `python -m notus_exp.chat`, which Python finds in this room; what it does stands in `talking`."""

from __future__ import annotations

from notus_exp.talking.chat_command import command

if __name__ == "__main__":
    command()
