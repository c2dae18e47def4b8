"The checks of the notebooks really detect what must not be committed, and cleaning mends what it can."
import json, sys, time

import nbformat
import pytest

import clean
import course
import nbtools

VIEW = {nbtools.WIDGET_VIEW: {"model_id": "1", "version_major": 2, "version_minor": 0}, "text/plain": ["interactive(children=())"]}


def display(**data):
    "A display output of the given mime types."
    return dict(output_type="display_data", metadata={}, data=data)


def stream(text):
    "What a cell printed."
    return dict(output_type="stream", name="stdout", text=[text])


def loaded(nb):
    "A notebook as nbformat reads it."
    return nbformat.reads(json.dumps(nb), as_version=4)


HOME = "/" + "home/ada/course"
BAD = {
    "widget state": (("code", "1"), dict(widgets={"application/vnd.jupyter.widget-state+json": {}})),
    "widget view": (("code", "1", display(**VIEW)), {}),
    "a stored error": (("code", "1/0", dict(output_type="error", ename="ZeroDivisionError", evalue="", traceback=[])), {}),
    "GitHub renders up to": (("code", "1", display(**{"image/png": "A" * 1_000_001})), {}),
    "a path of one machine": (("code", "1", stream(f"saved in {HOME}/x.png\n")), {}),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_notebooks_are_found(tmp_path, notebook, what):
    cell, metadata = BAD[what]
    nbtools.write(notebook(cell, **metadata), tmp_path / "a.ipynb")
    assert [p for p in nbtools.problems(tmp_path / "a.ipynb") if what in p]


@pytest.mark.parametrize("line", [f"path = '{HOME}'", "r'C:" + r"\Users\ada'", "/tmp/" + "ipykernel_12/3.py:1: UserWarning"])
def test_paths_of_one_machine_are_found_in_source_and_output(tmp_path, notebook, line):
    for cell in (("code", line), ("markdown", line), ("code", "1", stream(line))):
        nbtools.write(notebook(cell), tmp_path / "a.ipynb")
        assert len(nbtools.problems(tmp_path / "a.ipynb")) == 1


def test_a_good_notebook_has_no_problems(tmp_path, notebook):
    nb = notebook(("markdown", "# Title\n[a link](https://example.org/home/ada) and `nbs/home/x`"), ("code", "print(1)", stream("1\n")))
    nbtools.write(nb, tmp_path / "a.ipynb")
    assert nbtools.problems(tmp_path / "a.ipynb") == []


def test_something_that_is_no_notebook_is_a_problem(tmp_path):
    (tmp_path / "a.ipynb").write_text("{")
    assert "not valid JSON" in nbtools.problems(tmp_path / "a.ipynb")[0]


def test_cleaning_mends_widgets_and_keeps_the_picture(tmp_path, notebook):
    picture = display(**VIEW, **{"image/png": "iVBORw0KGgo="})
    twin = dict(display(**{"image/png": "iVBORw0KGgo=", "text/html": "<img>", "text/plain": "A line."}), metadata={"image/png": {"alt": "A line."}})
    nb = notebook(("code", "1", display(**VIEW), picture, twin, stream("kept\n")), widgets={"x": {}})
    nb["cells"][0]["execution_count"] = 7
    path = tmp_path / "a.ipynb"
    nbtools.write(nb, path)
    assert clean.clean(path)
    after = nbtools.read(path)
    assert nbtools.problems(path) == [] and after["cells"][0]["execution_count"] is None
    assert [sorted(o.get("data", {})) for o in after["cells"][0]["outputs"]] == [["image/png", "text/plain"]] * 2 + [[]]
    assert not clean.clean(path)  # a clean notebook is left alone


def test_lessons_come_in_reading_order(tmp_path):
    (tmp_path / "exercises").mkdir()  # what is in folders is no lesson, though it is cleaned and measured like one
    for name in ("10_b.ipynb", "02_a.ipynb", "index.ipynb", "00_start.ipynb", "exercises/02_a.ipynb"): (tmp_path / name).touch()
    assert tmp_path / "exercises" / "02_a.ipynb" in nbtools.notebooks(tmp_path)
    assert [p.name for p in nbtools.lessons(folder=tmp_path)] == ["00_start.ipynb", "02_a.ipynb", "10_b.ipynb"]
    assert [p.name for p in nbtools.lessons("02", tmp_path)] == ["02_a.ipynb"]


def test_a_lesson_runs_and_names_its_key_figure(tmp_path, notebook):
    good = loaded(notebook(("code", "x = 91.25"), ("code", "#| key_figure\nprint('accuracy')\nf'{x} %'")))
    assert course.execute(good, "", 60) is None
    assert course.key_figure(good) == "91.25 %"
    bad = loaded(notebook(("code", "raise ValueError('told so')")))
    assert "told so" in course.execute(bad, "", 60)
    assert course.key_figure(bad) == "-"


def test_a_hanging_lesson_is_ended(notebook):
    nb = loaded(notebook(("code", "import time; time.sleep(60)")))
    assert "timed out" in course.execute(nb, "", 1).lower()


def test_a_hanging_command_is_ended():
    start = time.time()
    assert nbtools.run([sys.executable, "-c", "import time; time.sleep(60)"], 1) == 124 and time.time() - start < 20
