"""Text that a file brought along, made fit for a terminal."""

from __future__ import annotations


def shown(text: object) -> str:
    """`text` with its control characters as escapes: a terminal obeys those that it is sent, whoever wrote them.

    Line feeds and tabs stay.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text)
    )
