"""The Protocol Buffers wire format: a message is a run of (field number, wire type, value).

ONNX field numbers that the readers of this format use: ModelProto 7 graph, 14 metadata_props; GraphProto 1 node,
5 initializer, 11 input, 12 output, 13 value_info; NodeProto 1 input, 2 output, 3 name, 4 op_type, 5 attribute, 7 domain;
TensorProto 1 dims, 2 data_type, 5 int32_data, 7 int64_data, 8 name, 9 raw_data, 13 external_data, 14 data_location;
AttributeProto 1 name, 3 i, 8 ints; ValueInfoProto 1 name, 2 type; StringStringEntryProto 1 key, 2 value.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_TEXT = 1 << 16
_MOST = 64  # numbers of one list: shapes, paddings


class MalformedError(Exception):
    """Says what is wrong with the bytes, for the sentence of whoever reads them."""


class ChangedError(MalformedError):
    """The bytes are a sound graph, but not one that this project writes."""


def name_of(message: int | memoryview, number: int) -> str:
    """The text in one field, or nothing."""
    if isinstance(message, memoryview):
        for found, value in fields(message):
            if found == number and (text := text_of(value)) is not None:
                return text
    return ""


def packed(value: int | memoryview) -> tuple[int, ...]:
    """A list of signed numbers, or the one of them that stands alone."""
    if isinstance(value, int):
        return (signed(value),)
    numbers: list[int] = []
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(signed(number))
        if len(numbers) > _MOST:
            raise MalformedError(f"more than {_MOST} numbers in a list")
    return tuple(numbers)


def signed(value: int) -> int:
    """64 bits as two's complement."""
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


def texts(message: memoryview) -> dict[int, str]:
    """The short length-delimited fields of a message that are text, by number (names; never weights)."""
    found: dict[int, str] = {}
    for number, value in fields(message):
        if number not in found and (text := text_of(value)) is not None:
            found[number] = text
    return found


def text_of(value: int | memoryview) -> str | None:
    """A field's value, if it is short and text."""
    if not isinstance(value, memoryview) or len(value) > _LONGEST_TEXT:
        return None
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return None


def fields(message: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Walk one message: (field number, number or the bytes of a nested value)."""
    view = memoryview(message)
    at, end = 0, len(view)
    while at < end:
        tag = view[at]
        at += 1
        if tag > 0x7F:  # most numbers have one byte; calls for these would be half of the time
            tag, at = _varint(view, at - 1)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise MalformedError(f"field number 0 at byte {at}")
        if kind == _VARINT:
            value, at = _varint(view, at)
            yield number, value
            continue
        if kind == _BYTES:
            if at < end and view[at] <= 0x7F:
                length, at = view[at], at + 1
            else:
                length, at = _varint(view, at)
        elif kind in (_FIXED32, _FIXED64):  # a number with a fraction, which nobody here reads; a copy leaves it out
            at += 4 if kind == _FIXED32 else 8
            continue
        else:
            raise MalformedError(f"wire type {kind} at byte {at}")
        if at + length > end:
            raise MalformedError(f"{at + length - end:,} bytes are missing at the end")
        yield number, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise MalformedError(f"a number without an end at byte {at}")
        byte = view[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def field(number: int, value: int | memoryview | bytes) -> bytes:
    return b"".join(pieces(number, value))


def pieces(number: int, *values: int | memoryview | bytes) -> list[memoryview | bytes]:
    """A field in parts that are yet to be joined: a number, or a nested value that several parts make up. Nothing is copied."""
    if isinstance(values[0], int):
        return [_encoded(number << 3 | _VARINT) + _encoded(values[0])]
    parts = [value for value in values if not isinstance(value, int)]
    return [_encoded(number << 3 | _BYTES) + _encoded(sum(map(len, parts))), *parts]


def tensor_info(name: str, kind: int, shape: Sequence[int]) -> bytes:
    """A ValueInfoProto: TypeProto 1 tensor_type; Tensor 1 elem_type, 2 shape; TensorShapeProto 1 dim; Dimension 1 dim_value."""
    sides = b"".join(field(1, field(1, side)) for side in shape)
    return field(1, name.encode()) + field(2, field(1, field(1, kind) + field(2, sides)))


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
