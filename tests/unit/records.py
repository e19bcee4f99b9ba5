"""Strategies that draw records of every kind, for the tests of the codec and of the fold."""

from __future__ import annotations

from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from perdure_schemas.payloads import Record

LONGS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, 63, 64, 8191, 8192, -8192])
TEXTS = st.text(max_size=12) | st.sampled_from(["", "x" * 63, "x" * 64, "ü" * 5000])
BYTES = st.binary(max_size=12) | st.sampled_from([b"", b"\xc3\x01", b"x" * 64, b"\0" * 9000])


@cache
def records(cls: type[Record]) -> st.SearchStrategy[Record]:
    """Records of a class; fields with a default often stand at it."""
    required: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for field in msgspec.structs.fields(cls):
        (required if field.required else optional)[field.name] = _values(field.type)
    return st.fixed_dictionaries(required, optional=optional).map(lambda kept: cls(**kept))


def _values(kind: Any) -> st.SearchStrategy[Any]:
    if get_origin(kind) is UnionType:
        return st.none() | _values(get_args(kind)[0])
    if get_origin(kind) is list:
        return st.lists(_values(get_args(kind)[0]), max_size=3)
    if get_origin(kind) is dict:
        return st.dictionaries(TEXTS, _values(get_args(kind)[1]), max_size=3)
    if isinstance(kind, type) and issubclass(kind, Record):
        return records(kind)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXTS,
        bytes: BYTES,
        int: LONGS,
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
    }
    return plain[kind]
