"""All ten explorers in a real browser: in JupyterLab (lesson 17) and as web pages (`make explore`).

A control is moved as a reader would, and another picture must come; files are brought that are no pictures.
"""
import re, shutil, time

import numpy as np
from browser import PICTURES, asked_for_files, chromium, needs_browser, new_page, playwright, quiet_settings, server
from PIL import Image
from test_lab import code_cells, errors, run_all, served

NAMES = ["block", "network", "convolution", "depth", "training", "augmentation", "threshold", "confusion", "gradcam", "lesion"]
PICTURE = ".widget-html-content img"


def choose(label, option): return lambda area: area.get_by_label(label, exact=True).select_option(option)
def slide(label): return lambda area: area.locator(".widget-slider").filter(has_text=label).locator(".noUi-handle").press("ArrowRight")
def tick(label): return lambda area: area.get_by_label(label, exact=True).click()
def push(label): return lambda area: area.get_by_role("button", name=label).click()


MOVES = dict(block=choose("shortcut", "none"), network=choose("stage", "layer3"), convolution=slide("step"), depth=choose("depth", "20"), training=push("Start"),
             augmentation=slide("hole"), threshold=slide("threshold"), confusion=choose("called", "frog"), gradcam=choose("method", "layercam"), lesion=tick("without layer2.1"))


def move(name, area):
    "Move one control of an explorer; its picture must change. How long that took, in seconds."
    picture = area.locator(PICTURE)
    before, start = picture.get_attribute("src"), time.time()
    MOVES[name](area)
    playwright.expect(picture).not_to_have_attribute("src", before, timeout=30_000)
    return time.time() - start


def photos(folder):
    "Files that a reader might bring, and what must be said of them: None where a picture must come."
    def save(name, im, **options):
        im.save(folder / name, **options)
        return folder / name
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 120, 3), dtype=np.uint8))
    (folder / "letter.jpg").write_text("Dear Sir or Madam")
    (folder / "empty.png").write_bytes(b"")
    (folder / "long.jpg").write_bytes(b"\xff\xd8" + bytes(12_000_000))
    return [(save("photo.png", noise), None), (folder / "letter.jpg", "cannot be read as a picture"), (folder / "empty.png", "is empty"), (folder / "long.jpg", "at most 8 MB"),
            (save("huge.png", Image.new("1", (20_000, 10_000))), "far too many pixels"), (save("moving.gif", noise, save_all=True, append_images=[noise.rotate(90)]), "the first of several frames")]


def bring(page, area, folder):
    "Bring files to the Grad-CAM explorer: each is shown, or refused with the reason, and the next one is taken all the same."
    said = area.locator(".widget-html-content").last
    for path, words in photos(folder):
        before = said.inner_html()
        with page.expect_file_chooser() as chooser: area.locator(".widget-upload").click()
        chooser.value.set_files(path)
        if words: playwright.expect(said).to_contain_text(words, timeout=30_000)
        else: playwright.expect(said.locator("img")).to_have_attribute("alt", re.compile(path.name), timeout=30_000)
        assert said.inner_html() != before


def by_keyboard(page, area):
    "The controls that the Tab key reaches."
    reached = set()
    page.locator("body").click(position=dict(x=5, y=5))
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => { const e = document.activeElement.closest('.widget-inline-hbox, .widget-upload, .widget-button'); return e ? e.innerText.replace(/[\\u200b\\s]+/g, ' ').trim() : '' }"))
    return {words for words in reached if words and not words.startswith("All explorers")}


@needs_browser
def test_the_gallery_in_jupyterlab(root, tmp_path):
    folder = served(tmp_path / "course", root / "nbs")
    shutil.copy(root / "settings.ini", folder)
    quiet_settings(tmp_path)

    def touch(page, panel):
        areas = panel.locator(".jp-OutputArea:has(.widget-html-content)")
        playwright.expect(areas).to_have_count(len(NAMES) + 2, timeout=30_000)      # two more under "With your own"
        for k, name in enumerate(NAMES):
            area = areas.nth(k)
            area.scroll_into_view_if_needed()
            seconds = move(name, area)
            if name == "training":                                                    # it trains: the kernel must answer another explorer meanwhile
                other = move("convolution", areas.nth(NAMES.index("convolution")))
                assert other < 10, f"another explorer answered after {other:.1f} s while a network trained"
                area.get_by_role("button", name="Stop").click()
                playwright.expect(area).to_contain_text("stopped", timeout=30_000)
                area.get_by_role("button", name="Start").click()
                playwright.expect(area).to_contain_text("it goes on", timeout=30_000)
                area.get_by_role("button", name="Start").click()
                playwright.expect(area).to_contain_text("it is running already", timeout=30_000)
                area.get_by_role("button", name="Stop").click()
                playwright.expect(area).to_contain_text("stopped", timeout=30_000)
            if name == "gradcam": bring(page, area, tmp_path)
            page.wait_for_timeout(300)
            area.screenshot(path=str(PICTURES / f"lab_{name}.png"))
            print(f"{name}: {seconds:.1f} s")

    with server([root / "tools" / "lab.py", "--port", "8891", "--no-browser", "--root", folder], r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", tmp_path, root) as address:
        _, reported = run_all(address, folder, "17_explorers.ipynb", PICTURES / "lab_gallery.png", then=touch)
    assert [e for c in code_cells(folder / "nbs" / "17_explorers.ipynb") for e in errors(c)] == []
    assert [e for e in reported if "badge" not in e] == []        # the badges under the title come from the network, which may not be there


@needs_browser
def test_the_pages(root, tmp_path):
    with server([root / "tools" / "explore.py", "--port", "8892", "--no-browser"], r"http://127\.0\.0\.1:8892/\?token=\w+", tmp_path, root) as address, chromium() as browser:
        asked_for_files(address, root)
        for name in NAMES:
            page = new_page(browser)
            page.goto(address)
            page.locator(f'a[href="?explorer={name}"]').click(timeout=60_000)
            area = page.locator("body")
            area.locator(PICTURE).wait_for(timeout=180_000)
            assert "import" not in area.inner_text() and "Traceback" not in area.inner_text()
            labels = [t for t in area.locator(".widget-label, .widget-button, .widget-upload").all_inner_texts() if t.strip()]
            assert labels and len(by_keyboard(page, area)) >= area.locator(".widget-slider, .widget-dropdown, .widget-checkbox, .jupyter-button").count() > 0, name
            seconds = move(name, area)
            if name == "training": area.get_by_role("button", name="Stop").click(); playwright.expect(area).to_contain_text("stopped", timeout=30_000)
            if name == "gradcam": bring(page, area, tmp_path)
            if name == "convolution":                                                 # a second visitor begins at the beginning
                other = new_page(browser); other.goto(f"{address}&explorer={name}")
                other.locator(PICTURE).wait_for(timeout=180_000)
                assert other.locator(PICTURE).get_attribute("src") != area.locator(PICTURE).get_attribute("src")
                other.close()
            page.wait_for_timeout(300)
            page.screenshot(path=str(PICTURES / f"page_{name}.png"))
            page.close()
            print(f"{name}: {seconds:.1f} s")
        page = new_page(browser)
        page.goto(f"{address}&explorer=blok")
        playwright.expect(page.locator("body")).to_contain_text("did you mean 'block'?", timeout=60_000)
        page.close()
        assert browser.errors == []
