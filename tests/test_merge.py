"Two people edit one notebook: git merges it cell by cell after `make hooks`, and a conflict is still a notebook."
import os, subprocess

import pytest

import hooks
import nbtools


@pytest.fixture
def clone(tmp_path, monkeypatch, root, notebook):
    "A repository with a notebook on branch main, the merge driver set up, and a function that runs git there."
    def git(*args, code=0):
        env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@example.org", *args], cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout
    git("init", "-q", "-b", "main")
    monkeypatch.setattr(hooks, "ROOT", tmp_path)
    assert hooks.main([]) == 0
    (tmp_path / ".gitattributes").write_text((root / ".gitattributes").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "settings.ini").write_text((root / "settings.ini").read_text(encoding="utf-8"), encoding="utf-8")
    nbtools.write(notebook(("markdown", "# Title"), ("code", "a = 1"), ("markdown", "Between."), ("code", "b = 2")), tmp_path / "a.ipynb")
    git("add", "."); git("commit", "-qm", "start")
    return tmp_path, git


def commit(folder, git, branch, **sources):
    "On a new branch from main, replace cells' sources by id."
    git("checkout", "-q", "-b", branch, "main")
    nb = nbtools.read(folder / "a.ipynb")
    for cell in nb["cells"]: cell["source"] = [sources[cell["id"]]] if cell["id"] in sources else cell["source"]
    nbtools.write(nb, folder / "a.ipynb")
    git("commit", "-qam", branch)


def sources(folder):
    "The notebook's cells as text."
    return [nbtools.text(c["source"]) for c in nbtools.read(folder / "a.ipynb")["cells"]]


def test_different_cells_merge(clone):
    folder, git = clone
    commit(folder, git, "one", c001="a = 10")
    commit(folder, git, "two", c003="b = 20")
    git("merge", "-q", "-m", "both", "one")
    assert sources(folder) == ["# Title", "a = 10", "Between.", "b = 20"] and git("status", "--porcelain") == ""


def test_one_cell_twice_is_a_conflict_between_cells(clone):
    folder, git = clone
    commit(folder, git, "one", c001="a = 10")
    commit(folder, git, "two", c001="a = 11", c003="b = 20")
    git("merge", "-q", "-m", "both", "one", code=1)
    found = sources(folder)
    assert found[0] == "# Title" and found[-2:] == ["Between.", "b = 20"]
    assert [s.strip("`")[:7] for s in found[1:6]] == ["<" * 7, "a = 11", "=" * 7, "a = 10", ">" * 7]
    assert git("status", "--porcelain") == "UU a.ipynb\n"
    assert nbtools.problems(folder / "a.ipynb") == [f"cell {n}: a merge that is not finished" for n in (1, 3, 5)]


def test_the_driver_can_be_removed(clone):
    _, git = clone
    assert hooks.main(["--remove"]) == 0
    assert "nbdev-merge" not in git("config", "--local", "--list")
