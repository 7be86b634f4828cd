"""Bodies that hold many items, of which one that is wrong never spoils the others."""

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ValidationError, WithJsonSchema

from service_kit.web.problems import MAX_ERRORS_OF_ITEM, Problem, invalid

LARGEST_BATCH = 500

# What service_kit.web.openapi describes under this name.
ItemProblem = Annotated[
    dict[str, Any], WithJsonSchema({"$ref": "#/components/schemas/ItemProblem"})
]
Model = TypeVar("Model", bound=BaseModel)


def read_items(model: type[Model], items: Sequence[Any]) -> list[Model | Problem]:
    """Validate each item for itself; one that does not fit becomes the problem that says why."""
    return [_read(model, item) for item in items]


def _read(model: type[Model], item: Any) -> Model | Problem:
    try:
        return model.model_validate(item)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_context=False, include_input=False)
        return invalid(errors, MAX_ERRORS_OF_ITEM)


def merge(read: Sequence[Any], done: Sequence[Any]) -> list[Any]:
    """Put what became of the items that could be read back between those that could not."""
    results = iter(done)
    return [item if isinstance(item, Problem) else next(results) for item in read]
