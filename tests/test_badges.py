"Badges, the cell for Colab and the citation follow settings.ini; and the cell does nothing anywhere else."
import re

import pytest

import badges
import nbtools

INI = "[DEFAULT]\ngit_url = https://github.com/{}\nbranch = trunk\nrequirements =\n    torch>=2.6\n    pyyaml\n    pydantic>=2\n    nbdev==2.4.14\n"


@pytest.fixture
def course(tmp_path, monkeypatch, notebook):
    "A small course in a folder of its own, with one lesson."
    (tmp_path / "nbs").mkdir()
    (tmp_path / "settings.ini").write_text(INI.format("ada/nets"), encoding="utf-8")
    (tmp_path / "CITATION.cff").write_text("title: Nets\nrepository-code: https://example.org\nlicense: Apache-2.0\n")
    monkeypatch.setattr(badges, "ROOT", tmp_path)
    monkeypatch.setattr(badges, "NBS", tmp_path / "nbs")
    nbtools.write(notebook(("markdown", "# Title"), ("markdown", "Text."), ("code", "#| default_exp x"), ("code", "1")), tmp_path / "nbs" / "04_nets.ipynb")
    return tmp_path


def cells(folder):
    "The lesson's cells as (id, source)."
    return [(c["id"], nbtools.text(c["source"])) for c in nbtools.read(folder / "nbs" / "04_nets.ipynb")["cells"]]


def test_cells_are_inserted_once_and_follow_the_address(course):
    assert badges.main(["--check"]) == 1 and [i for i, _ in cells(course)] == ["c000", "c001", "c002", "c003"]
    assert badges.main([]) == 0 and badges.main(["--check"]) == 0
    assert [i for i, _ in cells(course)] == ["c000", "badges", "c001", "colab", "c002", "c003"]
    links = dict(cells(course))["badges"]
    assert "colab.research.google.com/github/ada/nets/blob/trunk/nbs/04_nets.ipynb)" in links and "mybinder.org/v2/gh/ada/nets/trunk?labpath=nbs%2F04_nets.ipynb)" in links
    assert (course / "CITATION.cff").read_text(encoding="utf-8") == "title: Nets\nrepository-code: https://github.com/ada/nets\nlicense: Apache-2.0\n"
    before = (course / "nbs" / "04_nets.ipynb").read_bytes()
    assert badges.main([]) == 0 and (course / "nbs" / "04_nets.ipynb").read_bytes() == before
    (course / "settings.ini").write_text(INI.format("bob/nets2"), encoding="utf-8")
    assert badges.main(["--check"]) == 1 and badges.main([]) == 0
    assert "ada" not in str(cells(course)) and len(cells(course)) == 6


def test_colab_keeps_its_torch_and_the_tools_stay_away(course):
    badges.main([])
    code = dict(cells(course))["colab"]
    assert "git clone --quiet --depth 1 --branch trunk https://github.com/ada/nets /content/nets" in code
    assert '!pip install --quiet pyyaml "pydantic>=2"\n' in code and "--no-deps --editable /content/nets\n" in code and "nbdev==" not in code


def test_the_cell_does_nothing_outside_colab(root):
    from IPython.core.interactiveshell import InteractiveShell
    calls = []

    class Shell(InteractiveShell):
        system = lambda self, command: calls.append(command)  # what `!command` calls

    class Colab(Shell):
        __str__ = lambda self: "<google.colab._shell.Shell object>"

    code = badges.colab(badges.settings())
    for kind in (Shell, Colab):
        shell = kind()
        shell.user_ns["get_ipython"] = lambda shell=shell: shell
        before = set(shell.user_ns)
        shell.run_cell(code).raise_error()
        if kind is Shell: assert calls == [] and {n for n in set(shell.user_ns) - before if not n.startswith("_")} == set()
    assert [re.search(r"git clone|pip install", c)[0] for c in calls] == ["git clone", "pip install", "pip install"]


def test_what_cannot_be_is_said(course, notebook):
    (course / "settings.ini").write_text(INI.format("ada/nets.git"), encoding="utf-8")
    with pytest.raises(SystemExit, match="git_url"): badges.main([])
    (course / "settings.ini").write_text(INI.format("ada/nets"), encoding="utf-8")
    nbtools.write(notebook(("code", "1")), course / "nbs" / "05_none.ipynb")
    with pytest.raises(SystemExit, match="05_none.ipynb: the first cell is not the title"): badges.main([])
