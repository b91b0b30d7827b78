"""Groups whose help lists the commands as a person meets them, not by the alphabet."""

from __future__ import annotations

import click

__all__ = ["InOrder"]


class InOrder(click.Group):
    """A group that lists its commands in the order in which they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)
