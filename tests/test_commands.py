"What the documents and the workflow tell people and machines to run is there."
import re

import pytest
import yaml

import readme


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", ".github/workflows/test.yml", ".ci/run"])
def test_make_targets_and_tools_exist(root, name):
    text = (root / name).read_text(encoding="utf-8")
    commands = re.findall(r"(?:`|run: |^|&& )make ([a-z -]+)", text, re.M)
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.M))
    assert commands and {t for c in commands for t in c.split()} <= targets
    assert [t for t in re.findall(r"\btools/\w+\.py", text) if not (root / t).exists()] == []


def test_links_of_contributing_lead_somewhere(root):
    targets = [t for _, t in readme.TARGET.findall((root / "CONTRIBUTING.md").read_text(encoding="utf-8")) if "://" not in t]
    assert targets and [t for t in targets if not (root / t).exists()] == []


def test_the_workflow_runs_the_readme_s_test_command(root):
    jobs = yaml.safe_load((root / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]
    page = (root / "README.md").read_text(encoding="utf-8")
    runs = {name: [s["run"] for s in job["steps"] if "run" in s] for name, job in jobs.items()}
    assert "make test" in runs["test"] and runs["newest"][0] == "make lock" and runs["newest"][-1] == "make test" and "| `make test` |" in page
    windows = [c.replace(r".venv\Scripts\python", ".venv/bin/python") for c in runs["test"] if not c.startswith("make ")]
    assert len(windows) == 2 and all(re.search(rf"^{re.escape(c)} ", page, re.M) for c in windows)
    assert all(0 < job["timeout-minutes"] <= 60 for job in jobs.values())
