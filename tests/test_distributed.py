"""Several processes that train together, and what becomes of them when something breaks. Runs on Linux alone: signals and network namespaces."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
import faults

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's signals and network namespaces")


@pytest.fixture(scope="module")
def cases(tmp_path_factory): return faults.cases(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("name,lives", [("kill_writing", 2), ("kill", 2), ("full_disk", 2)])
def test_weights_are_those_of_an_undisturbed_training(cases, name, lives, full):
    if name != "kill_writing" and not full: pytest.skip("in the full form")
    found = cases[name][1]()
    if "skipped" in found: pytest.skip(found["skipped"])
    assert found == dict(finished=True, happened=True, lives=lives, equal=True), found


def test_fewer_processes_go_on_and_say_so(cases, full):
    if not full: pytest.skip("in the full form")
    found = cases["fewer"][1]()
    assert found["finished"] and found["happened"] and abs(found["loss"] - found["undisturbed_loss"]) < 0.2, found


def test_two_hosts_of_which_one_is_cut_off(cases):
    found = cases["two_hosts"][1]()
    if "skipped" in found: pytest.skip(found["skipped"])
    assert found["finished"] and found["equal"] and found["lives"] >= 2, found


def test_restarts_without_a_store_of_their_own_are_refused(tmp_path):
    launched = faults.launch(tmp_path / "run", sharing=True)
    code, said = faults.end(launched)
    assert code and "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1" in said
