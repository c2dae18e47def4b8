"""What becomes of a notebook and of a module on the site. The built site is checked by `make site-check`."""
import ast, sys

import pytest
from nbtools import ROOT

sys.path.insert(0, str(ROOT / "tools" / "site"))
import api
import build


def test_directives_hidden_cells_and_badges_go(notebook):
    nb = notebook(("markdown", "# T"), ("code", "#| default_exp x"), ("code", "#| export\ndef f(): ..."), ("code", "#| hide\nsecret"), ("markdown", "badge"), ("code", "1"))
    nb["cells"][4]["id"] = "badges"
    shown = build.staged(nb, build.Path("nbs/x.ipynb"), build.Path("x.ipynb"), "https://a.b/c")
    assert [c["source"] for c in shown["cells"]] == ["# T", "def f(): ...", "1"]


@pytest.mark.parametrize("before, after", [
    ("[a](01_residual_blocks.ipynb#The-puzzle:-deeper-got-worse)", "[a](01_residual_blocks.ipynb#the-puzzle-deeper-got-worse)"),
    ("[a](../CONTRIBUTING.md)", "[a](contributing.md)"), ("[a](../resnet_course/blocks.py)", "[a](api/blocks.md)"), ("[a](lib/checks/)", "[a](https://a.b/c/tree/main/nbs/lib/checks)"),
    ("[a](../LICENSE)", "[a](https://a.b/c/blob/main/LICENSE)"), ("[a](https://x.y/z)", "[a](https://x.y/z)"), ("`[a](nowhere.md)`", "`[a](nowhere.md)`"),
])
def test_links(before, after):
    assert build.relink(before, build.Path("nbs/index.ipynb"), build.Path("index.ipynb"), "https://a.b/c") == after


def test_anchors():
    assert build.slug("Do-gradients-vanish?") == build.slug("Do gradients vanish?") == "do-gradients-vanish"
    assert build.slug("Blocks ([01](a.ipynb), `x_y`)") == "blocks-01-x_y"


def test_a_link_to_nothing_is_an_error():
    with pytest.raises(ValueError, match="nbs/index.ipynb links to gone.ipynb, which does not exist"):
        build.relink("[a](gone.ipynb)", build.Path("nbs/index.ipynb"), build.Path("index.ipynb"), "https://a.b/c")


def test_a_signature_becomes_a_table():
    source = 'def f(\n    x: "Tensor",  # (B, C) | <scores>\n    *rest,  # more\n    k: int | None = 3,  # how many\n    y=1, z=2,  # the last\n) -> int:  # a count\n    "Says [it](x.ipynb) *well*."\n'
    text = "\n\n".join(api.function(ast.parse(source).body[0], api.comments(source), 2, ""))
    for row in ["| `x` | `'Tensor'` | (B, C) \\| \\<scores\\> |", "| `*rest` |  | more |", r"| `k` | `int \| None = 3` | how many |", "| `y` | `= 1` |  |", "| `z` | `= 2` | the last |",
                "Returns `int`: a count", "Says it *well*.", "f(x, *rest, k=3, y=1, z=2)"]: assert row in text, row


def test_no_comment_of_a_signature_is_lost():
    lost, kept = [], 0
    for path in sorted((ROOT / api.PACKAGE).rglob("*.py")):
        if path.name.startswith("_"): continue
        source = path.read_text(encoding="utf-8")
        shown = api.page(path.relative_to(ROOT), ROOT, "", "", {}, {})[0]
        tree, notes = ast.parse(source), api.comments(source)
        names = api.exported(tree)
        for top in tree.body:
            if not isinstance(top, (ast.FunctionDef, ast.ClassDef)) or top.name not in names: continue
            parts = [top] if isinstance(top, ast.FunctionDef) else [n for n in top.body if isinstance(n, ast.FunctionDef) and (ast.get_docstring(n) or n.name in ("__init__", "forward"))]
            for f in (f for f in parts if f.name == "__init__" or not f.name.startswith("_")):
                first = f.body[0].lineno if f.body[0].lineno > f.lineno else f.lineno + 1
                for line in range(f.lineno, first):
                    if line not in notes: continue
                    kept += 1
                    if api.prose(notes[line]) not in shown: lost.append(f"{path.name}:{line}: {notes[line]}")
    assert kept > 500 and not lost, "\n".join(lost)
