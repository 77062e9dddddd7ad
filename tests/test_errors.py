from __future__ import annotations

import inspect

import pytest

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
