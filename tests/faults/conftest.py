"Tests of what may break: a few of each kind in `make test`, all of them with RESNET_COURSE_FAULTS=full (`make test-faults`)."
import os

import pytest


@pytest.fixture(scope="session")
def full():
    "Whether all faults are to be tried, and not a few of each kind."
    return os.environ.get("RESNET_COURSE_FAULTS", "short") == "full"
