"""Words in messages: what a file brought along, made fit for a terminal; and what somebody may have meant."""

from __future__ import annotations

from collections.abc import Sequence


def shown(text: object) -> str:
    """`text` with its control characters as escapes: a terminal obeys those that it is sent, whoever wrote them.

    Line feeds and tabs stay.
    """
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape", "surrogatepass").decode() for c in str(text)
    )


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A sentence with the likeliest of the known words, after a space; "" where none is close."""
    import difflib

    close = difflib.get_close_matches(word, known, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def first_line(error: BaseException) -> str:
    """What an error of another library says, in one line; its kind where it says nothing."""
    return shown(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
