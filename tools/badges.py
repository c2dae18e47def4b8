"""What holds the repository's address: each lesson's badges and its cell for Colab, and CITATION.cff; all from settings.ini.

    python tools/badges.py [--check]      --check writes nothing and exits with 1 when something is not in step
"""
import re, sys
from configparser import ConfigParser

from nbtools import NBS, ROOT, lessons, read, text, write

BADGES, COLAB = "badges", "colab"  # the ids of the two cells
TORCH = {"torch", "torchvision"}   # Colab brings its own, built for its GPUs
MAKING = {"jupyterlab", "nbdev", "execnb", "fastcore", "ghapi"}  # to make and test lessons, not to run one


def settings():
    "The section of settings.ini."
    cfg = ConfigParser()
    cfg.read(ROOT / "settings.ini", encoding="utf-8")
    return cfg["DEFAULT"]


def badges(name, cfg):
    "Markdown that opens notebook `name` in Colab and on Binder."
    repo, branch = cfg["git_url"].removeprefix("https://github.com/"), cfg["branch"]
    return (f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/{repo}/blob/{branch}/nbs/{name})\n"
            f"[![Open on Binder](https://mybinder.org/badge_logo.svg)](https://mybinder.org/v2/gh/{repo}/{branch}?labpath=nbs%2F{name})")


def colab(cfg):
    "Code that fetches the course on Colab and does nothing elsewhere."
    needs = [r for r in cfg["requirements"].split() if re.match(r"[\w-]+", r)[0] not in TORCH | MAKING]
    folder = "/content/" + cfg["git_url"].rpartition("/")[2]
    return f"""#| hide
# On Colab: the course, and what else is missing there; Colab's torch stays. Elsewhere this does nothing.
if "google.colab" in str(get_ipython()):
    ![ -d {folder} ] || git clone --quiet --depth 1 --branch {cfg["branch"]} {cfg["git_url"]} {folder}
    !pip install --quiet {" ".join(f'"{r}"' if re.search("[<>=]", r) else r for r in needs)}
    !pip install --quiet --no-deps --editable {folder}
    import sys; sys.path.insert(0, "{folder}")"""


def updated(nb, name, cfg):
    "The notebook with its two cells: badges under the title, the cell for Colab before the first code. Raises `ValueError` without a title."
    cells = [c for c in nb["cells"] if c["id"] not in (BADGES, COLAB)]
    if not cells or cells[0]["cell_type"] != "markdown" or not text(cells[0]["source"]).startswith("# "):
        raise ValueError(f"nbs/{name}: the first cell is not the title; begin it with '# '")
    first = next((i for i, c in enumerate(cells) if c["cell_type"] == "code"), len(cells))
    cells.insert(first, dict(cell_type="code", execution_count=None, id=COLAB, metadata={}, outputs=[], source=colab(cfg).splitlines(True)))
    cells.insert(1, dict(cell_type="markdown", id=BADGES, metadata={}, source=badges(name, cfg).splitlines(True)))
    return {**nb, "cells": cells}


def main(args):
    "Bring everything in step with settings.ini, or with --check only compare."
    cfg, wrong = settings(), []
    if not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+(?<!\.git)", cfg["git_url"]):
        sys.exit(f"settings.ini: git_url is {cfg['git_url']!r}; badges need https://github.com/<owner>/<name>")
    for path in lessons(folder=NBS):
        old = read(path)
        try: new = updated(old, path.name, cfg)
        except ValueError as e: sys.exit(str(e))
        if new != old:
            wrong.append(f"nbs/{path.name}")
            if "--check" not in args: write(new, path)
    path = ROOT / "CITATION.cff"
    old = path.read_text(encoding="utf-8")
    new = re.sub(r"(?m)^(repository-code:).*$", rf"\1 {cfg['git_url']}", old)
    if new != old:
        wrong.append(path.name)
        if "--check" not in args: path.write_text(new, encoding="utf-8", newline="\n")
    for name in wrong: print(f"{name} is not in step with settings.ini: make badges" if "--check" in args else f"{name} brought in step")
    return int("--check" in args and bool(wrong))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
