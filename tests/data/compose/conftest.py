"""One source and one composed dataset for the tests of this folder; not to be written to."""

from __future__ import annotations

import pytest

from fakes.annotated import write_objects
from mirg.data.compose.build import ComposeReport, compose
from mirg.data.compose.recipe import ComposeRecipe
from mirg.samples import DatasetFolder, Sample

N = 180


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> DatasetFolder:
    return write_objects(tmp_path_factory.mktemp("source") / "objects", 80)


@pytest.fixture(scope="session")
def recipe(source: DatasetFolder) -> ComposeRecipe:
    return ComposeRecipe(source=str(source.root), n=N, side=160, languages={"en": 2, "de": 1})


@pytest.fixture(scope="session")
def composed(
    recipe: ComposeRecipe, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ComposeReport, DatasetFolder, list[Sample]]:
    out = tmp_path_factory.mktemp("composed") / "data"
    report = compose(recipe, out)
    dataset = DatasetFolder.open(out)
    return report, dataset, list(dataset.read(images="decode"))
