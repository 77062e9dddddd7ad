from __future__ import annotations

import inspect

import pytest
from pydantic import BaseModel, Field, ValidationError, field_validator

from mirg import errors

ALL = [value for _, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, errors.MirgError)]


@pytest.mark.parametrize("kind", ALL)
def test_one_tree_and_every_error_says_what_and_what_to_do(kind: type[errors.MirgError]) -> None:
    error = kind("rows.jsonl:3: box is inverted", hint="swap the corners")
    assert isinstance(error, errors.MirgError)
    assert str(error) == "rows.jsonl:3: box is inverted (swap the corners)"
    assert str(kind("plain")) == "plain"
    assert error.exit_code > 0
    assert kind.__doc__


def test_an_image_error_is_a_data_error() -> None:
    assert issubclass(errors.ImageError, errors.DataError)


class Row(BaseModel):
    id: str = Field(min_length=1)
    boxes: list[float] = []

    @field_validator("id")
    @classmethod
    def lower(cls, value: str) -> str:
        if value != value.lower():
            raise ValueError("an id is lower case")
        return value


@pytest.mark.parametrize(
    ("value", "field", "reason"),
    [
        ({}, "id", "Field required"),
        ({"id": "A"}, "id", "an id is lower case"),
        ({"id": "a", "boxes": [0.5, "x"]}, "boxes.1", "Input should be a valid number, unable to parse string as a"),
        ([1], "row", "Input should be a valid dictionary or instance of Row"),
        ({"boxes": ["x", "y"]}, "id", "Field required (and 2 more)"),
    ],
)
def test_the_first_problem_of_a_refused_value(value: object, field: str, reason: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Row.model_validate(value)
    found = errors.first_problem(caught.value)
    assert found[0] == field and found[1].startswith(reason)
