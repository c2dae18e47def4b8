"Ten minutes of training and of clicks are benchmarks/growth.py; here some seconds of each, and that growth would be seen."
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import growth


def row(**more): return dict(rss_mb=500.0, files=10, threads=2, hooks=0, figures=0, modules=100) | more


def test_growth_is_seen():
    assert growth.growth([row()] * 30) == {} == growth.growth([row(files=k) for k in range(10)][:1] * 6 + [row()] * 24)
    for name, step in dict(files=1, threads=1, hooks=1, figures=1, rss_mb=2).items():
        rows = [row(**{name: row()[name] + step * k}) for k in range(30)]
        assert list(growth.growth(rows)) == [name], name


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("work", ["trainings", "clicks"])
def test_nothing_grows(work, full):
    "After a warm-up, files, threads and hooks stay as they are; memory is judged in the ten minutes, not here"
    if work == "clicks" and not full: pytest.skip("in the full form")
    n, rows = growth.watch(getattr(growth, work), 40 if full else 0.5, samples=10 if full else 5)
    grown = growth.growth(rows); grown.pop("rss_mb", None)
    print(f"{n} times, then {rows[-1]}")
    assert not grown, grown
