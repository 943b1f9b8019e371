import pytest

from fastscnn.runtime.errors import FastSCNNError
from fastscnn.runtime.text import shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain – Größe 100×200", "plain – Größe 100×200"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("a\rb\x08", "a\\rb\\x08"),
        ("two\n\tlines", "two\n\tlines"),
        ("left\u202eright\u200b", "left\\u202eright\\u200b"),
        ("\udc80", "\\udc80"),
    ],
)
def test_a_terminal_gets_nothing_to_obey(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert shown(FastSCNNError(text)) == expected
