"""What is wrong with the built site; nothing on another host is fetched.

    python tools/site/check.py [--no-browser]

Every link inside the site leads to a page and an anchor that exist, every picture has a text alternative, no page loads anything
from another host. In Chromium, if there is one: axe finds nothing serious or critical (light and dark, wide and on a phone), no
page asks another host, none scrolls sideways, and the search finds a word. Links to other hosts are listed in _site/links.txt.
"""
import functools, http.server, os, shutil, sys, threading
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SITE = Path(__file__).resolve().parent.parent.parent / "_site" / "html"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LOOKED_AT = ["index", "00_start", "01_residual_blocks", "exercises/01_residual_blocks", "api/training", "lib/index", "search"]
VIEWS = [("light", 1400), ("dark", 1400), ("light", 390)]
AXE = dict(resultTypes=["violations"], preload=False)  # preload: it would ask for imported style sheets at wrong addresses
LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}


class Page(HTMLParser):
    "What a page holds: anchors, links, pictures, and what it loads."

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.silent = set(), [], [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        self.ids |= {a[k] for k in ("id", "name") if a.get(k)}
        if tag == "a" and "href" in a: self.links.append(a["href"])
        if tag == "link" and a.get("rel") not in ("canonical", "next", "prev", "index", "search", "author"): self.loads.append(a.get("href", ""))
        if tag in LOADS and LOADS[tag] in a: self.loads.append(a[LOADS[tag]])
        if tag == "img" and not a.get("alt") and "logo__image" not in a.get("class", ""): self.silent.append(a.get("src", ""))


def static_problems(site=SITE):
    "What the files show, one line each, and how often each address on another host is linked."
    pages = {p.relative_to(site).as_posix(): Page(p) for p in sorted(site.rglob("*.html")) if "_static" not in p.parts}
    found, elsewhere = [] if pages else [f"no pages in {site}: make site"], Counter()
    for name, page in pages.items():
        found += [f"{name}: a picture without a text alternative: {src[:80]}" for src in page.silent]
        for target in page.links + page.loads:
            url = urlsplit(target)
            if url.scheme in ("data", "mailto"): continue
            if url.scheme or url.netloc:
                elsewhere[target] += 1
                if target in page.loads: found.append(f"{name}: loads {target}")
                continue
            path = os.path.normpath(os.path.join(os.path.dirname(name), unquote(url.path))) if url.path else name
            if not (site / path).is_file(): found.append(f"{name}: leads to {target}, which is not there")
            elif url.fragment and path in pages and unquote(url.fragment) not in pages[path].ids: found.append(f"{name}: no anchor for {target}")
    for sheet in site.rglob("*.css"):
        if "url(http" in (css := sheet.read_text(encoding="utf-8").replace('"', "").replace("'", "")) or "@import http" in css: found.append(f"{sheet.relative_to(site)}: loads from another host")
    return found, elsewhere


class Quiet(http.server.SimpleHTTPRequestHandler):
    "A plain server that does not talk."
    def log_message(self, *_): pass


def served(site=SITE):
    "Serve the site in a thread; its address."
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def looked_at(site=SITE):
    "The pages that the browser opens: those named above, and the first of the guide."
    return LOOKED_AT + [p.relative_to(site).with_suffix("").as_posix() for p in sorted(site.glob("guide/*.html"))[:2]]


def listening(context, address, say):
    "A page that reports what it asks of others, and its errors."
    page = context.new_page()
    page.on("request", lambda r: None if r.url.startswith((address, "data:", "blob:")) else say(f"asks for {r.url}"))
    page.on("console", lambda m: say(f"{m.text} {m.location.get('url', '')}") if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: say(str(e)))
    return page


def look(page, theme, say):
    "Accessibility, theme and width of an open page."
    from axe_playwright_python.sync_playwright import Axe
    if page.evaluate("document.documentElement.dataset.theme") != theme: say(f"is not {theme}")
    if (over := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0: say(f"{over} px wider than the window")
    for v in Axe().run(page, options=AXE).response["violations"]:
        if v["impact"] in ("serious", "critical"):
            for node in v["nodes"][:3]: say(f"{v['impact']}, {v['id']} ({len(v['nodes'])}): {node['html'][:120]}")


def browser_problems(address, names):
    "What a browser shows of these pages, one line each."
    from playwright.sync_api import sync_playwright
    found, here = [], [""]
    def say(words): found.append(f"{here[0]}: {words}")
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"])
        for theme, width in VIEWS:
            context = browser.new_context(viewport=dict(width=width, height=900), color_scheme=theme)
            page = listening(context, address, say)
            for name in names:
                here[0] = f"{name}, {theme}, {width} px"
                page.goto(f"{address}{name}.html", wait_until="load")
                look(page, theme, say)
            context.close()
        here[0] = "search"
        page = listening(browser, address, say)
        page.goto(f"{address}search.html?q=zero-init")
        page.locator("#search-results a").first.wait_for(timeout=20_000)
        if not page.locator("#search-results a[href*='01_residual_blocks']").count(): say("`zero-init` is not found in lesson 01")
        browser.close()
    return found


def main(args):
    "Print what is wrong."
    found, elsewhere = static_problems()
    (SITE.parent / "links.txt").write_text("".join(f"{n} {url}\n" for url, n in sorted(elsewhere.items())), encoding="utf-8")
    if "--no-browser" in args: how = "not opened in a browser"
    elif BROWSER is None: how = "not opened in a browser: no Chromium here (Debian, Ubuntu: apt-get install chromium)"
    else:
        found += browser_problems(served(), looked_at())
        how = f"{len(looked_at())} of them opened in {len(VIEWS)} ways"
    print(*found, sep="\n", end="\n" if found else "")
    print(f"{len(list(SITE.rglob('*.html')))} pages, {how}; {len(elsewhere)} links to other hosts, not fetched; {len(found)} problems")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
