"What the tests with a real browser share: Chromium, servers that are started and ended, a page that remembers its errors."
import contextlib, os, re, shutil, subprocess, sys, time
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: make setup")
BROWSER = next((b for b in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if b), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here (Debian, Ubuntu: apt-get install chromium)")
PICTURES = Path(__file__).resolve().parent.parent / "_screenshots"


@contextlib.contextmanager
def server(command, address, folder, root, **env):
    "Run a server until the block ends; its address, as soon as its messages show one that fits `address`."
    env = {**os.environ, "RESNET_COURSE_SCALE": "smoke", "HOME": str(folder / "home"), "PYTHONUNBUFFERED": "1", **env}
    env.setdefault("RESNET_COURSE_DATA", str(root / "data"))
    for name in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"): env[f"JUPYTER_{name}"] = str(folder / name.lower())
    with (folder / "server.log").open("w+", encoding="utf-8") as log:
        group = {} if os.name == "nt" else {"start_new_session": True}
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=log, stderr=log, env=env, **group)
        try:
            end = time.time() + 90
            while not (found := re.search(address, Path(log.name).read_text(encoding="utf-8"))):
                if process.poll() is not None or time.time() > end: pytest.fail("the server did not start:\n" + Path(log.name).read_text(encoding="utf-8")[-3000:])
                time.sleep(0.3)
            yield found[0]
        finally:
            process.kill() if os.name == "nt" else os.killpg(process.pid, 15)
            try: process.wait(20)
            except subprocess.TimeoutExpired: process.kill() if os.name == "nt" else os.killpg(process.pid, 9)


@contextlib.contextmanager
def chromium():
    "A browser; what its consoles report as errors is collected in `browser.errors`."
    PICTURES.mkdir(exist_ok=True)
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        browser.errors = []
        yield browser
        browser.close()


def new_page(browser):
    "A page whose errors are remembered."
    page = browser.new_page(viewport=dict(width=1400, height=1000))
    page.on("console", lambda m: browser.errors.append(f"{m.text} ({m.location.get('url', '')})") if m.type == "error" else None)
    page.on("pageerror", lambda e: browser.errors.append(str(e)))
    return page


def quiet_settings(folder):
    "JupyterLab keeps every cell in the page, whether it is in sight or not."
    where = folder / "config_dir" / "labconfig"
    where.mkdir(parents=True)
    (where / "default_setting_overrides.json").write_text('{"@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"}}')
