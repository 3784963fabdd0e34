"""Every number of the wire catalogue has both bounds, every string and list a maximum.

Without them MessagePack lets NaN and infinity through, and JSON any length.
"""

import inspect
from collections.abc import Iterator
from typing import Annotated

import msgspec
import pytest
from msgspec import inspect as shapes

from realtime import messages

STRUCTS = [
    value
    for name, value in inspect.getmembers(messages, inspect.isclass)
    if issubclass(value, msgspec.Struct) and value is not msgspec.Struct and value.__module__ == messages.__name__
]


def unbounded(shape: shapes.Type, path: str, incoming: bool) -> Iterator[str]:
    """Paths inside ``shape`` that lack a bound."""
    match shape:
        case shapes.IntType() | shapes.FloatType():
            low = shape.ge if shape.ge is not None else shape.gt
            high = shape.le if shape.le is not None else shape.lt
            if low is None or high is None:
                yield path
        case shapes.StrType() | shapes.BytesType():
            if shape.max_length is None:
                yield path
        case shapes.ListType() | shapes.VarTupleType() | shapes.SetType():
            if shape.max_length is None:
                yield path
            yield from unbounded(shape.item_type, f"{path}[]", incoming)
        case shapes.DictType():
            if incoming and shape.max_length is None:
                yield path
            yield from unbounded(shape.key_type, f"{path}{{}}", incoming)
            yield from unbounded(shape.value_type, f"{path}{{}}", incoming)
        case shapes.TupleType():
            for i, item in enumerate(shape.item_types):
                yield from unbounded(item, f"{path}[{i}]", incoming)
        case shapes.UnionType():
            for item in shape.types:
                yield from unbounded(item, path, incoming)
        case shapes.AnyType():
            if incoming:
                yield path


@pytest.mark.parametrize("struct", STRUCTS, ids=lambda struct: struct.__name__)
def test_every_number_has_both_bounds_and_every_string_and_list_a_maximum(struct: type[msgspec.Struct]) -> None:
    incoming = struct in messages.ClientMessage.__args__
    shape = shapes.type_info(struct)
    assert isinstance(shape, shapes.StructType)
    loose = [
        place
        for field in shape.fields
        # The keys of `result`, `facts` and `columns` are ours; their values are checked where they are made.
        if field.name not in ("result", "facts", "columns")
        for place in unbounded(field.type, field.encode_name, incoming)
        if not (struct is messages.Snapshot and field.name == "checkins" and place.endswith("{}"))
    ]
    assert loose == []


def test_the_check_sees_what_is_missing() -> None:
    class Loose(msgspec.Struct):
        number: float
        half: Annotated[int, msgspec.Meta(ge=0)]
        text: str
        rows: list[tuple[int, str]]

    shape = shapes.type_info(Loose)
    assert isinstance(shape, shapes.StructType)
    found = [place for field in shape.fields for place in unbounded(field.type, field.name, incoming=True)]
    assert found == ["number", "half", "text", "rows", "rows[][0]", "rows[][1]"]


def test_the_catalogue_is_not_empty() -> None:
    assert len(STRUCTS) > 30
