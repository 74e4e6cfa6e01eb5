"""A family's statistics: its variants' rows of Triton's statistics, summed into one."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import service_pb2

_LATEST = frozenset({"last_inference"})
_IDENTITY = frozenset({"batch_size", "type", "id"})
"""What a row of an inner list is about: rows that agree in these are summed."""


def summed_statistics(
    family: str, version: str, rows: Sequence[service_pb2.ModelStatistics]
) -> service_pb2.ModelStatistics:
    """One row under the family's name; counts, durations and sizes are sums, times are the latest."""
    total = service_pb2.ModelStatistics()
    for row in rows:
        _add(total, row)
    total.name, total.version = family, version
    return total


def _add(total: Any, row: Any) -> None:
    for field, value in row.ListFields():
        name = field.name
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in value:
                _add(getattr(total, name)[key], value[key])
        elif field.is_repeated:
            for each in value:
                _add(_of_the_same(getattr(total, name), each), each)
        elif field.message_type is not None:
            _add(getattr(total, name), value)
        elif name in _IDENTITY or field.type == FieldDescriptor.TYPE_STRING:
            setattr(total, name, value)
        else:
            known = getattr(total, name)
            setattr(total, name, max(known, value) if name in _LATEST else known + value)


def _of_the_same(rows: Any, row: Any) -> Any:
    names = [field.name for field in row.DESCRIPTOR.fields if field.name in _IDENTITY]
    for known in rows:
        if all(getattr(known, name) == getattr(row, name) for name in names):
            return known
    return rows.add()
