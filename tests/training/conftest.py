"""What the trainings in this folder read, made once."""

import pytest

from support.trainings import make_artifacts


@pytest.fixture(scope="session")
def artifacts(tiny_model_folder, tmp_path_factory):
    return make_artifacts(tiny_model_folder, tmp_path_factory.mktemp("artifacts"))
