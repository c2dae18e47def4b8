"Shared by the tests: the checkout's root, the tools folder on the import path, and how many faults are tried."
import os, sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))


@pytest.fixture(scope="session")
def root():
    "The checkout's root."
    return ROOT


@pytest.fixture(scope="session")
def full():
    "Whether all faults are to be tried (RESNET_COURSE_FAULTS=full, `make test-faults`), and not a few of each kind."
    return os.environ.get("RESNET_COURSE_FAULTS", "short") == "full"


@pytest.fixture
def notebook():
    "A function that makes a small notebook of (kind, source, outputs) cells."
    def make(*cells, **metadata):
        nb = dict(nbformat=4, nbformat_minor=5, cells=[], metadata=dict(
            kernelspec=dict(display_name="python3", language="python", name="python3"), **metadata))
        for i, (kind, source, *outputs) in enumerate(cells):
            cell = dict(id=f"c{i:03d}", cell_type=kind, metadata={}, source=source.splitlines(True))
            if kind == "code": cell.update(execution_count=None, outputs=outputs)
            nb["cells"].append(cell)
        return nb
    return make
