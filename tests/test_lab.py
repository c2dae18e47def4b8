"""`make lab` with a real browser: the index loads with the token, and a lesson runs from the menu without an error.

A copy of the notebooks is served, so that JupyterLab's autosave leaves the checkout alone.
"""
import json, os, re, shutil, subprocess, sys, time
from pathlib import Path

import pytest

LESSON = "00_start.ipynb"
SECONDS = 240
BROWSER = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian, Ubuntu: apt-get install chromium)")


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
    "A function that starts JupyterLab as `make lab` does, on a folder, and returns its address with the token."
    started = []

    def start(folder):
        env = {**os.environ, "RESNET_COURSE_SCALE": "smoke", "HOME": str(tmp_path / "home"), "PYTHONUNBUFFERED": "1"}
        env.setdefault("RESNET_COURSE_DATA", str(root / "data"))
        for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"): env[f"JUPYTER_{name}"] = str(tmp_path / name.lower())
        log = (tmp_path / "lab.log").open("w+")
        cmd = [sys.executable, str(root / "tools" / "lab.py"), "--port", "8890", "--no-browser", "--root", str(folder)]
        group = {} if os.name == "nt" else {"start_new_session": True}
        started.append(subprocess.Popen(cmd, stdout=log, stderr=log, env=env, **group))
        end = time.time() + 60
        while time.time() < end and started[0].poll() is None:
            if m := re.search(r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", Path(log.name).read_text()): return m[0]
            time.sleep(0.3)
        pytest.fail("JupyterLab did not start:\n" + Path(log.name).read_text()[-3000:])

    yield start
    for proc in started:
        proc.kill() if os.name == "nt" else os.killpg(proc.pid, 15)
        try: proc.wait(20)
        except subprocess.TimeoutExpired: os.killpg(proc.pid, 9)


def run_all(address, folder, name, picture, then=lambda page, panel: None):
    "Load the index, open the notebook, run all its cells from the menu, wait until they are done, do what comes then; the notebook's text."
    path = folder / "nbs" / name
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        page = browser.new_page(viewport=dict(width=1400, height=1000))
        page.goto(address)
        page.get_by_role("heading", name=title(folder / "nbs" / "index.ipynb")).first.wait_for(timeout=60_000)
        page.screenshot(path=str(picture.with_name("lab_index.png")))
        page.goto(address.replace("index.ipynb", name))
        page.get_by_role("heading", name=title(path)).first.wait_for(timeout=60_000)
        panel = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden)")
        panel.locator(".jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for(state="attached", timeout=60_000)
        panel.get_by_role("heading", name=title(path)).first.click()
        end, asked = time.time() + SECONDS, 0
        while time.time() < end:
            cells = code_cells(path)
            if cells and (all(c["execution_count"] for c in cells) or any(errors(c) for c in cells)): break
            begun = any(c["execution_count"] for c in cells) or panel.get_by_text("[*]:").count()
            if not begun and time.time() > asked + 10:  # a request made before the kernel is connected is lost
                page.get_by_role("menuitem", name="Run", exact=True).click()
                page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
                asked = time.time()
            page.wait_for_timeout(2000)
            page.keyboard.press("Control+s")
        else: pytest.fail(f"{name} was not done after {SECONDS} s")
        page.screenshot(path=str(picture))
        then(page, panel)
        text = panel.inner_text()
        browser.close()
    return text


def move_a_slider(page, panel):
    "The picture under the first slider must change when it is moved."
    handle = panel.locator(".widget-slider .noUi-handle").first
    for _ in range(60):  # cells that are out of sight are not in the page
        if handle.count(): break
        panel.locator(".jp-WindowedPanel-outer").first.hover()
        page.mouse.wheel(0, -400)
        page.wait_for_timeout(300)
    handle.scroll_into_view_if_needed()
    picture = panel.locator(".widget-html-content img").first
    before = picture.get_attribute("src")
    for _ in range(3): handle.press("ArrowRight")
    playwright.expect(picture).not_to_have_attribute("src", before, timeout=60_000)
    page.wait_for_timeout(1000)
    page.screenshot(path=str(Path(__file__).parent.parent / "_screenshots" / "lab_moved.png"))


def errors(cell):
    "The errors that a cell ended with."
    return [f"{o['ename']}: {o['evalue']}" for o in cell["outputs"] if o["output_type"] == "error"]


def served(folder, nbs):
    "A copy of the notebooks to serve."
    shutil.copytree(nbs, folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    return folder


@needs_browser
def test_lesson_00_runs_in_the_browser(root, lab, tmp_path):
    if not (root / "nbs" / LESSON).exists(): pytest.skip(f"nbs/{LESSON} is not written yet")
    folder = served(tmp_path / "course", root / "nbs")
    shutil.copy(root / "settings.ini", folder)
    pictures = root / "_screenshots"
    pictures.mkdir(exist_ok=True)
    run_all(lab(folder), folder, LESSON, pictures / "lab_lesson.png", then=move_a_slider)
    cells = code_cells(folder / "nbs" / LESSON)
    assert [e for c in cells for e in errors(c)] == []
    outputs = json.dumps([c["outputs"] for c in cells])
    assert "torch" in outputs and "test accuracy" in outputs and "image/png" in outputs


@needs_browser
def test_an_error_in_the_browser_is_seen(lab, tmp_path, notebook):
    (tmp_path / "own").mkdir()
    for name, cells in {"index.ipynb": [("markdown", "# The index")],
                        "bad.ipynb": [("markdown", "# A bad lesson"), ("code", "print(40 + 2)"), ("code", "1/0")]}.items():
        (tmp_path / "own" / name).write_text(json.dumps(notebook(*cells)))
    folder = served(tmp_path / "course", tmp_path / "own")
    text = run_all(lab(folder), folder, "bad.ipynb", tmp_path / "bad.png")
    cells = code_cells(folder / "nbs" / "bad.ipynb")
    assert "42" in text and [e for c in cells for e in errors(c)] == ["ZeroDivisionError: division by zero"]
