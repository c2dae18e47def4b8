"""nbs/index.ipynb -> README.md: markdown as it stands, code fenced, links made right for the repository's root.

    python tools/readme.py [--check]      --check writes nothing and exits with 1 when README.md is not in step

Cells marked `#| hide` are left out, outputs too. `<address of this repository>` in the text becomes the address from settings.ini.
"""
import posixpath, re, sys
from configparser import ConfigParser

from nbtools import NBS, ROOT, read, text

HEAD = "<!-- Made from nbs/index.ipynb by tools/readme.py (make readme). Edit the notebook, not this file. -->\n\n"
TARGET = re.compile(r"(\]\(|\b(?:src|href)=[\"'])([^)\"'\s]+)")
CODE = re.compile(r"(```.*?```|`[^`\n]+`)", re.S)
DIRECTIVE = re.compile(r"^\s*#\s*\|.*\n?", re.M)


def from_root(target):
    "A link of a notebook in nbs/ as seen from the repository's root; addresses and anchors stay."
    if re.match(r"[a-z][a-z0-9+.-]*:|#|/", target, re.I): return target
    path, mark, anchor = target.partition("#")
    return posixpath.normpath(posixpath.join("nbs", path)) + mark + anchor


def relink(markdown):
    "Markdown with its relative links and pictures rewritten, code left alone."
    parts = CODE.split(markdown)
    parts[::2] = [TARGET.sub(lambda m: m[1] + from_root(m[2]), p) for p in parts[::2]]
    return "".join(parts)


def readme(nb, git_url):
    "The README's text for a notebook."
    parts = []
    for cell in nb["cells"]:
        source = text(cell["source"]).strip()
        if not source or re.search(r"^#\s*\|\s*hide\b", source, re.M): continue
        if cell["cell_type"] == "markdown": parts.append(relink(source.replace("<address of this repository>", git_url)))
        elif cell["cell_type"] == "code" and (code := DIRECTIVE.sub("", source).strip()): parts.append(f"```python\n{code}\n```")
    return HEAD + "\n\n".join(parts) + "\n"


def main(args):
    "Write README.md, or with --check compare it."
    cfg = ConfigParser()
    cfg.read(ROOT / "settings.ini", encoding="utf-8")
    new, path = readme(read(NBS / "index.ipynb"), cfg["DEFAULT"]["git_url"]), ROOT / "README.md"
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    if "--check" in args:
        if old != new: print("README.md is not in step with nbs/index.ipynb: make readme")
        return int(old != new)
    if old != new: path.write_text(new, encoding="utf-8", newline="\n")
    print("README.md", "written" if old != new else "was in step already")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
