"""The course as a static site in _site/html/, made without a network: Sphinx, MyST-NB and a book theme, stored outputs as they are.

    python tools/site/build.py [--fresh]

Pages are first written to _site/pages/: notebooks without directives and hidden cells, links set right, a page for each
module. Pages that did not change are not built again; --fresh builds all.
"""
import argparse, json, os, re, shutil, subprocess, sys, time
from configparser import ConfigParser
from pathlib import Path
from urllib.parse import unquote

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from nbtools import NBS, ROOT, notebooks, read, text
from readme import CODE, TARGET

import api

HERE, BUILT = Path(__file__).resolve().parent, ROOT / "_site"
PAGES, OUT = BUILT / "pages", BUILT / "html"
PROSE = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "data/README.md": "data.md"}  # in the repository: on the site
HIDDEN = re.compile(r"^\s*#\s*\|\s*hide\b", re.M)
DIRECTIVE = re.compile(r"^\s*#\s*\|.*\n?", re.M)
HEADING = re.compile(r"^(#{1,6}) +(.+?)\s*$", re.M)
BADGES = ("badges", "colab")  # cells that the repository's page needs, and this one not


def settings():
    "The keys of settings.ini."
    cfg = ConfigParser()
    cfg.read(ROOT / "settings.ini", encoding="utf-8")
    return cfg["DEFAULT"]


def slug(heading):
    "The anchor of a heading, however a notebook wrote it: JupyterLab's `#My-heading!` and GitHub's `#my-heading` are one."
    words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", unquote(heading))     # of a link in a heading, its words
    return re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")


def page_of(path):
    "Where a file of the repository lies on the site, as the source of a page; None where it has none."
    name = path.as_posix()
    if name in PROSE: return Path(PROSE[name])
    if path.parts[0] == "nbs" and (path.suffix in (".ipynb", ".md") or "images" in path.parts): return Path(*path.parts[1:])
    if path.parts[0] == api.PACKAGE and path.suffix == ".py" and not path.name.startswith("_"): return api.page_name(path)
    return None


def relink(markdown, source, page, address):
    "Markdown of the file `source` for the page `page` (both relative): links lead to pages, or to the repository."
    def one(match):
        target = match[2]
        if re.match(r"[a-z][a-z0-9+.-]*:|/", target, re.I): return match[0]
        path, _, anchor = target.partition("#")
        anchor = f"#{slug(anchor)}" if anchor else ""
        if not path: return match[1] + anchor
        file = Path(os.path.normpath(source.parent / unquote(path)))
        if not (ROOT / file).exists(): raise ValueError(f"{source} links to {target}, which does not exist")
        there = page_of(file)
        if there is None: return f"{match[1]}{address}/{'tree' if (ROOT / file).is_dir() else 'blob'}/{settings()['branch']}/{file.as_posix()}"
        return match[1] + Path(os.path.relpath(there, page.parent)).as_posix() + anchor
    parts = CODE.split(markdown)
    parts[::2] = [TARGET.sub(one, p) for p in parts[::2]]
    return "".join(parts)


def title(path):
    "The first heading of a notebook or a Markdown file, and the line under it that begins with `>`."
    source = path.read_text(encoding="utf-8") if path.suffix == ".md" else "\n".join(text(c["source"]) for c in read(path)["cells"] if c["cell_type"] == "markdown")
    head, under = re.search(r"^# +(.+)$", source, re.M), re.search(r"^> +([^*\n].*)$", source[:1000], re.M)
    return head[1].strip() if head else path.stem, under[1].strip() if under else ""


def toctree(entries, caption=None):
    "Pages that the sidebar lists here: (title, or None for their own, and page) each."
    return "\n".join(["```{toctree}", ":hidden:", *([f":caption: {caption}"] if caption else []), "", *(f"{name} <{page}>" if name else page for name, page in entries), "```"])


def markdown_cell(source, id):
    "A cell of prose that only the site has."
    return dict(cell_type="markdown", id=id, metadata={}, source=source)


def staged(nb, source, page, address, more=""):
    "A notebook as the site shows it; `more` is put after its last cell."
    cells = []
    for cell in nb["cells"]:
        code = text(cell["source"])
        if cell["id"] in BADGES or HIDDEN.search(code): continue
        if cell["cell_type"] == "code":
            code = DIRECTIVE.sub("", code).strip()
            if not code and not cell["outputs"]: continue
        else: code = relink(code.replace("<address of this repository>", address), source, page, address)
        cells.append({**cell, "source": code})
    if more: cells.append(markdown_cell(more, "site"))
    info = dict(name="python", pygments_lexer="ipython3")
    return {**nb, "cells": cells, "metadata": {**nb["metadata"], "language_info": info}}


def numbered(path):
    "`01 Residual blocks` for a lesson or its exercises."
    return f"{path.stem.partition('_')[0]} {title(path)[0].removeprefix('Exercises: ')}"


def table(head, rows):
    "A Markdown table."
    return "\n".join(f"| {' | '.join(r)} |" for r in (head, ["---"] * len(head), *rows))


def contents():
    "What the sidebar shows under the index: lessons, guide, exercises, and what one looks up."
    at = lambda folder: [p for p in sorted((NBS / folder).glob("*")) if p.suffix in (".ipynb", ".md")]
    name = lambda p: p.relative_to(NBS).with_suffix("").as_posix()
    parts = [("Lessons", [(numbered(p), name(p)) for p in at(".") if p.name[0].isdigit()]),
             ("Guide", [(None, name(p)) for p in at("guide")]),
             ("Exercises", [(numbered(p), name(p)) for p in at("exercises")]),
             ("To look up", [("The package", "api/index"), ("The engine room", "lib/index"), ("Data", "data"), ("Contributing", "contributing"), ("Changes", "changelog")])]
    return "\n\n".join(toctree(entries, caption=caption) for caption, entries in parts if entries)


def engine_room():
    "The page that lists nbs/lib."
    rows = [(f"[{title(p)[0]}]({p.name})", title(p)[1]) for p in sorted((NBS / "lib").glob("*.ipynb"))]
    intro = "Notebooks for what the lessons need but do not teach. Per symbol a sentence, the code, and an example that asserts."
    return f"# The engine room\n\n{intro}\n\n{table(('notebook', 'what it is for'), rows)}\n\n" + toctree([(None, p.stem) for p in sorted((NBS / "lib").glob("*.ipynb"))]) + "\n"


def below(path):
    "The pages that stand behind a notebook: an exercise's solutions, the checks of each lesson behind `checks`."
    if path.parent == NBS / "exercises" and (NBS / "solutions" / path.name).exists(): return toctree([("Solutions", f"../solutions/{path.stem}")])
    if path == NBS / "lib" / "checks.ipynb": return toctree([(None, f"checks/{p.stem}") for p in sorted((NBS / "lib" / "checks").glob("*.ipynb"))])
    return contents() if path == NBS / "index.ipynb" else ""


def stage():
    "All pages: {name under _site/pages: content as text, bytes or a notebook}."
    address, pages = settings()["git_url"], {}
    for path in notebooks():
        page = path.relative_to(NBS)
        nb = staged(read(path), path.relative_to(ROOT), page, address, below(path))
        pages[page] = json.dumps(nb, ensure_ascii=False, sort_keys=True)
    for path in [*NBS.rglob("*.md"), *map(ROOT.joinpath, PROSE)]:
        source = path.relative_to(ROOT)
        page = page_of(source)
        pages[page] = relink(path.read_text(encoding="utf-8"), source, page, address)
    for path in (p for p in NBS.rglob("images/*") if p.is_file()): pages[path.relative_to(NBS)] = path.read_bytes()
    pages[Path("lib/index.md")] = engine_room()
    sections = {path.relative_to(ROOT).as_posix(): headings(read(path)) for path in notebooks()}
    titles = {path.relative_to(ROOT).as_posix(): title(path)[0] for path in notebooks()}
    return pages | api.pages(ROOT, address, settings()["branch"], sections, titles)


def headings(nb):
    "Under which heading each cell stands: {cell's id: anchor}."
    found, last = {}, ""
    for cell in nb["cells"]:
        if cell["cell_type"] == "markdown" and (all_ := HEADING.findall(CODE.sub("", text(cell["source"])))): last = slug(all_[-1][1])
        found[cell["id"]] = last
    return found


def write(pages):
    "Write what is new or changed, remove what is gone."
    for old in PAGES.rglob("*"):
        if old.is_file() and old.relative_to(PAGES) not in pages: old.unlink()
    for name, content in pages.items():
        data, path = content if isinstance(content, bytes) else content.encode(), PAGES / name
        if path.exists() and path.read_bytes() == data: continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def main():
    "Stage the pages, then let Sphinx build them; a warning is an error."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fresh", action="store_true", help="build every page again")
    start = time.time()
    if parser.parse_args().fresh:
        shutil.rmtree(BUILT, ignore_errors=True)
    write(stage())
    sphinx = [sys.executable, "-m", "sphinx", "-b", "html", "-j", "auto", "-W", "--keep-going", "--quiet", "-c", HERE, "-d", BUILT / "doctrees", PAGES, OUT]
    code = subprocess.call([str(c) for c in sphinx])
    files = [p for p in OUT.rglob("*") if p.is_file()]
    if code == 0: print(f"{sum(p.suffix == '.html' for p in files)} pages, {sum(p.stat().st_size for p in files) / 1e6:.0f} MB in {time.time() - start:.0f} s: {OUT.relative_to(ROOT).as_posix()}/index.html")
    return code


if __name__ == "__main__":
    sys.exit(main())
