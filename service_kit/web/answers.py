"""Writes what a handler returns as JSON.

FastAPI checks an answer against its response model before it writes it. A row of our own database
needs no check, its columns' types promise what the model does, and to check fifty customers takes
longer than to write them; so rows are written as they are. Anything else is checked.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from types import UnionType
from typing import Any, Union, get_args, get_origin

from fastapi._compat import ModelField
from fastapi.exceptions import ResponseValidationError
from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

Write = Callable[[Any], bytes]


def writer(field: ModelField) -> Write:
    """Make what writes the answers of a route with this response model."""
    annotation: Any = field.field_info.annotation
    if _holds_rows(annotation):
        return _row_writer(annotation, field)
    if get_origin(annotation) is list and _holds_rows(item := get_args(annotation)[0]):
        return _rows_writer(item, field)
    return lambda result: _checked(field, result)


def _holds_rows(model: Any) -> bool:
    """Tell a model that is filled from a row, field by field."""
    return (
        isinstance(model, type)
        and issubclass(model, BaseModel)
        and bool(model.model_config.get("from_attributes"))
    )


def _row_writer(model: type[BaseModel], field: ModelField) -> Write:
    names, values_of = tuple(model.model_fields), attrgetter(*model.model_fields)
    write = TypeAdapter(as_dict(model)).serializer.to_json

    def written(result: Any) -> bytes:
        if not isinstance(result, tuple):
            return _checked(field, result)
        return write(dict(zip(names, values_of(result), strict=True)))

    return written


def _rows_writer(model: type[BaseModel], field: ModelField) -> Write:
    names, values_of = tuple(model.model_fields), attrgetter(*model.model_fields)
    rows: Any = list[as_dict(model)]  # type: ignore[misc]
    write = TypeAdapter(rows).serializer.to_json

    def written(result: Sequence[Any]) -> bytes:
        if not all(isinstance(row, tuple) for row in result):
            return _checked(field, result)
        return write([dict(zip(names, values_of(row), strict=True)) for row in result])

    return written


def as_dict(model: type[BaseModel]) -> Any:
    """Make the type of a dictionary with a model's fields, which is written just as the model."""
    fields = {name: _with_dicts(field.annotation) for name, field in model.model_fields.items()}
    return TypedDict(model.__name__, fields)  # type: ignore[operator]


def _with_dicts(annotation: Any) -> Any:
    """Name the type of a field, with dictionaries for the models in it."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return as_dict(annotation)
    if isinstance(annotation, UnionType):
        return Union[tuple(_with_dicts(part) for part in get_args(annotation))]  # noqa: UP007
    return annotation


def _checked(field: ModelField, result: Any) -> bytes:
    value, errors = field.validate(result, {}, loc=("response",))
    if errors:
        raise ResponseValidationError(errors=errors, body=result)
    return field.serialize_json(value)
