"""`make lab` with a real browser: the index loads with the token, and a lesson runs from the menu without an error.

A copy of the notebooks is served, so that JupyterLab's autosave leaves the checkout alone.
"""
import json, re, shutil, time

import pytest
from browser import PICTURES, chromium, needs_browser, new_page, playwright, server

LESSON = "00_start.ipynb"
GUESS, COMPARED = "accuracy on pictures that were not normalised", "raw_accuracy.compare"  # its last prediction, and where it is compared
SECONDS = 240


def title(path):
    "The first heading of a notebook."
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return re.search(r"^# (.+)$", "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown"), re.M)[1].strip()


def code_cells(path):
    "The code cells of a notebook as saved, without empty ones."
    try: nb = json.loads(path.read_text(encoding="utf-8"))
    except ValueError: return []  # just being written
    return [c for c in nb["cells"] if c["cell_type"] == "code" and "".join(c["source"]).strip()]


@pytest.fixture
def lab(root, tmp_path):
    "A function that starts JupyterLab as `make lab` does, on a folder; a context with its address and token."
    return lambda folder, **env: server([root / "tools" / "lab.py", "--port", "8890", "--no-browser", "--root", folder], r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", tmp_path, root, **env)


def run_all(address, folder, name, picture, then=lambda page, panel: None):
    "Load the index, open the notebook, run all its cells from the menu, wait until they are done, do what comes then; the notebook's text and the console's errors."
    path = folder / "nbs" / name
    with chromium() as browser:
        page = new_page(browser)
        page.goto(address)
        page.get_by_role("heading", level=1, name=title(folder / "nbs" / "index.ipynb")).first.wait_for(timeout=60_000)
        page.screenshot(path=str(picture.with_name("lab_index.png")))
        page.goto(address.replace("index.ipynb", name))
        page.get_by_role("heading", level=1, name=title(path)).first.wait_for(timeout=60_000)
        panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        panel.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for(state="attached", timeout=60_000)
        panel.get_by_role("heading", level=1, name=title(path)).first.click()
        end, asked = time.time() + SECONDS, 0
        while time.time() < end:
            cells = code_cells(path)
            if cells and (all(c["execution_count"] for c in cells) or any(errors(c) for c in cells)): break
            begun = any(c["execution_count"] for c in cells) or panel.get_by_text("[*]:").count()
            if (asks := page.locator(".jp-Dialog")).count():  # where a slow kernel was not there yet, JupyterLab asks which one
                assert "Select Kernel" in (said := asks.first.inner_text()), f"JupyterLab asks: {said}"
                asks.locator("button.jp-mod-accept").click()
                asked = 0
            if not begun and time.time() > asked + 10:  # a request made before the kernel is connected is lost
                page.get_by_role("menuitem", name="Run", exact=True).click()
                page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
                asked = time.time()
            page.wait_for_timeout(2000)
            page.keyboard.press("Control+s")
        else: pytest.fail(f"{name} was not done after {SECONDS} s")
        page.screenshot(path=str(picture))
        then(page, panel)
        return panel.inner_text(), browser.errors


def scroll_to(page, panel, what):
    "Wheel up until it is in the page (cells that are out of sight are not), then bring it into view."
    for _ in range(60):
        if what.count(): break
        panel.locator(".jp-WindowedPanel-outer").first.hover()
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(300)
    what.scroll_into_view_if_needed()


def move_a_slider(page, panel):
    "The picture under the first slider must change when it is moved."
    handle = panel.locator(".widget-slider .noUi-handle").first
    scroll_to(page, panel, handle)
    picture = panel.locator(".widget-html-content img").first
    before = picture.get_attribute("src")
    for _ in range(3): handle.press("ArrowRight")
    playwright.expect(picture).not_to_have_attribute("src", before, timeout=60_000)
    page.wait_for_timeout(1000)
    page.screenshot(path=str(PICTURES / "lab_moved.png"))


def enter_a_guess(page, panel):
    "A number in the last field, then the cell that compares it, once more: it must say what was entered."
    field = panel.get_by_label(GUESS)
    scroll_to(page, panel, field)
    field.fill("12.5")
    field.press("Tab")
    answer = panel.locator(".jp-CodeCell").filter(has_text=COMPARED)
    answer.locator(".cm-content").click()
    page.keyboard.press("Control+Enter")
    playwright.expect(answer.get_by_text("You said 12.5")).to_be_visible(timeout=60_000)
    page.screenshot(path=str(PICTURES / "lab_guess.png"))


def errors(cell):
    "The errors that a cell ended with."
    return [f"{o['ename']}: {o['evalue']}" for o in cell["outputs"] if o["output_type"] == "error"]


def served(folder, nbs):
    "A copy of the notebooks to serve."
    shutil.copytree(nbs, folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return folder


@needs_browser
def test_lesson_00_runs_in_the_browser(root, lab, tmp_path):
    folder = served(tmp_path / "course", root / "nbs")
    shutil.copy(root / "settings.ini", folder)
    def play(page, panel):
        enter_a_guess(page, panel)
        move_a_slider(page, panel)
    with lab(folder) as address: run_all(address, folder, LESSON, PICTURES / "lab_lesson.png", then=play)
    cells = code_cells(folder / "nbs" / LESSON)
    assert [e for c in cells for e in errors(c)] == []
    outputs = json.dumps([c["outputs"] for c in cells])
    assert "torch" in outputs and "test accuracy" in outputs and "image/png" in outputs


@needs_browser
def test_an_exercise_is_solved_in_the_browser(root, lab, tmp_path):
    "Unsolved, the exercises of lesson 01 run without an error and say what is missing; a hint is given, answers are judged"
    folder = served(tmp_path / "course", root / "nbs")
    shutil.copy(root / "settings.ini", folder)
    name, said = "exercises/01_residual_blocks.ipynb", []

    def write(page, panel, old, new):
        cell = panel.locator(".jp-CodeCell").filter(has_text=old).first
        cell.locator(".cm-content").click()
        if new: page.keyboard.press("Control+a"); page.keyboard.insert_text(new)
        page.keyboard.press("Control+Enter")

    def solve(page, panel):
        verdict = panel.locator(".jp-CodeCell").filter(has_text="check.projections(answer)").first
        playwright.expect(verdict.get_by_text("Not yet.")).to_be_visible()
        said.extend(panel.get_by_text("Not yet.").all_inner_texts())
        write(page, panel, "# check.projections.hint()", "check.projections.hint()")
        playwright.expect(panel.get_by_text("Hint 1 of 3.")).to_be_visible(timeout=60_000)
        for flaw, word in (("b=True", "Passed."), ("b=False", "Not yet."), ("b=True", "Passed.")):
            write(page, panel, "answer = dict(", f"answer = dict(a=False, {flaw}, c=True, d=True, e=True, f=False, weights_of_c=64 * 256 + 2 * 256)")
            write(page, panel, "check.projections(answer)", "")
            playwright.expect(verdict.get_by_text(word)).to_be_visible(timeout=60_000)
        page.screenshot(path=str(PICTURES / "lab_solved.png"))

    with lab(folder, IN_TEST="1") as address: run_all(address, folder, name, PICTURES / "lab_exercise.png", then=solve)     # nothing is kept as a learner's progress
    assert [e for c in code_cells(folder / "nbs" / name) for e in errors(c)] == []
    assert len(said) == 5                                 # one for each exercise


@needs_browser
def test_an_error_in_the_browser_is_seen(lab, tmp_path, notebook):
    (tmp_path / "own").mkdir()
    for name, cells in {"index.ipynb": [("markdown", "# The index")],
                        "bad.ipynb": [("markdown", "# A bad lesson"), ("code", "print(40 + 2)" + "  # a long line" * 20), ("code", "1/0")]}.items():
        (tmp_path / "own" / name).write_text(json.dumps(notebook(*cells)), encoding="utf-8")
    folder = served(tmp_path / "course", tmp_path / "own")
    cut = []                                             # by how many pixels code is wider than what is shown of it
    def look(page, panel): cut.append(max(panel.locator(".jp-CodeCell .cm-scroller").evaluate_all("all => all.map(e => e.scrollWidth - e.clientWidth)")))
    with lab(folder) as address: text, _ = run_all(address, folder, "bad.ipynb", tmp_path / "bad.png", then=look)
    cells = code_cells(folder / "nbs" / "bad.ipynb")
    assert max(cut) <= 1, "long lines of code are cut"
    assert "42" in text and [e for c in cells for e in errors(c)] == ["ZeroDivisionError: division by zero"]


@needs_browser
def test_a_kernel_that_is_restarted_under_its_controls(lab, tmp_path, notebook):
    (tmp_path / "own").mkdir()
    draw = "from resnet_course.explorers import ConvolutionExplorer\nConvolutionExplorer().panel()"
    for name, cells in {"index.ipynb": [("markdown", "# The index")], "one.ipynb": [("markdown", "# One explorer"), ("code", draw)]}.items():
        (tmp_path / "own" / name).write_text(json.dumps(notebook(*cells)), encoding="utf-8")
    folder = served(tmp_path / "course", tmp_path / "own")

    def restart(page, panel):
        dead, handle, picture = (panel.locator(at) for at in (".jupyter-widgets-disconnected", ".widget-slider .noUi-handle", ".widget-html-content img"))
        picture.wait_for(timeout=60_000)
        playwright.expect(dead).to_have_count(0)
        panel.get_by_role("button", name="Restart the kernel", exact=True).click()
        page.locator(".jp-Dialog button.jp-mod-accept").click()
        playwright.expect(dead.first).to_be_visible(timeout=60_000)                   # each control says so by a broken link
        before = picture.get_attribute("src")
        handle.press("ArrowRight")
        page.wait_for_timeout(1000)
        assert picture.get_attribute("src") == before
        page.screenshot(path=str(PICTURES / "lab_restarted.png"))
        panel.locator(".jp-CodeCell .cm-content").click()
        page.keyboard.press("Control+Enter")
        playwright.expect(dead).to_have_count(0, timeout=60_000)
        picture.wait_for(timeout=60_000)
        handle.press("ArrowRight")
        playwright.expect(picture).not_to_have_attribute("src", before, timeout=30_000)

    with lab(folder) as address: _, reported = run_all(address, folder, "one.ipynb", PICTURES / "lab_one.png", then=restart)
    assert reported == []
