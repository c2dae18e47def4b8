"What the tests with a real browser share: Chromium, servers that are started and ended, a page that remembers its errors."
import contextlib, http.client, os, re, shutil, subprocess, sys, time
from pathlib import Path
from urllib.parse import urlsplit

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


FILES = ["/../settings.ini", "/%2e%2e/settings.ini", "/settings.ini", "/start.html", "/voila.json", "/resnet-course.ipynb", "//etc/passwd", "/files/settings.ini", "/tree", "/api/contents", "/api/kernels", "/api/terminals", "/edit/settings.ini",
         "/voila/files/settings.ini", "/voila/files/resnet-course.ipynb", "/voila/files/voila.json", "/voila/files//etc/passwd", "/voila/files/%2fetc%2fpasswd", "/voila/files/..%2f..%2fetc%2fpasswd",
         "/static/../../settings.ini", "/voila/static/../app.py", "/voila/static/%2e%2e/app.py", "/voila/static/../../../../../../../../etc/passwd", "/voila/templates/course/index.html.j2", "/voila/templates/course/static/../conf.json",
         "/voila/templates/lab/static/../../../../../../../../../../etc/passwd", "/voila/labextensions/../../etc/passwd", "/voila/api/themes/../../../etc/passwd", "/voila/tree", "/voila/render/resnet-course.ipynb"]


def asked_for_files(address, root):
    "Ask the explorers' server for its pages and for what is not one of them; without the token it has no pages either."
    place = urlsplit(address)

    def ask(path, cookies=""):
        line = http.client.HTTPConnection(place.hostname, place.port, timeout=120)
        line.request("GET", path, headers={"Cookie": cookies} if cookies else {})
        answer = line.getresponse()
        return answer.status, answer.getheader("Location") or "", "; ".join(v.split(";")[0] for k, v in answer.getheaders() if k.lower() == "set-cookie"), answer.read()

    for _ in range(180):                                                              # the address is printed before the server listens
        try: ask("/login"); break
        except OSError: time.sleep(0.5)
    for path in ("/", "/?explorer=block", "/?token=wrong"):
        status, to, _, page = ask(path)
        assert status == 302 and to.startswith("/login") and not page, (path, status, to)
    status, _, cookie, page = ask(f"{place.path}?{place.query}")
    assert status == 200 and b"<title>resnet-course</title>" in page and cookie
    secret = [(root / "settings.ini").read_bytes()[:60], b"root:", b"QUERY_STRING", b"base_template", b"VoilaConfiguration", b"def _default", b"notebook_css"]     # the course's settings, the system's users, our notebook's code, settings and template, Voila's code
    for path in FILES:
        for known in ("", cookie):
            status, to, _, page = ask(path, known)
            while status == 302 and to.startswith("/") and not to.startswith("/login"): status, to, _, page = ask(to, known)
            assert status in (302, 400, 403, 404, 405, 500) and not any(s in page for s in secret), (path, bool(known), status, page[:200])


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
