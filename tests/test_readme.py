"index.ipynb -> README.md."
import re

import readme


def test_cells_links_and_directives(notebook):
    nb = notebook(
        ("markdown", "# Course\n[start](00_start.ipynb#data), ![a](images/a.png), [top](#top), git clone <address of this repository>\n"
                     "[licence](../LICENSE) <img src=\"images/b.png\" alt=\"b\">\n```\n[x](y.ipynb)\n```\nand `[x](z.ipynb)`"),
        ("code", "#| hide\nsecret = 1"),
        ("code", "#| eval: false\nimport resnet_course"),
        ("code", "#| echo: true"))
    text = readme.readme(nb, "https://example.org/me/course")
    assert text == readme.HEAD + """# Course
[start](nbs/00_start.ipynb#data), ![a](nbs/images/a.png), [top](#top), git clone https://example.org/me/course
[licence](LICENSE) <img src="nbs/images/b.png" alt="b">
```
[x](y.ipynb)
```
and `[x](z.ipynb)`

```python
import resnet_course
```
"""


def test_check_detects_a_difference(tmp_path, monkeypatch, notebook):
    import nbtools
    (tmp_path / "nbs").mkdir()
    (tmp_path / "settings.ini").write_text("[DEFAULT]\ngit_url = https://example.org\n")
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    monkeypatch.setattr(readme, "NBS", tmp_path / "nbs")
    nbtools.write(notebook(("markdown", "# One")), tmp_path / "nbs" / "index.ipynb")
    assert readme.main(["--check"]) == 1          # no README yet
    assert readme.main([]) == 0 and readme.main(["--check"]) == 0
    nbtools.write(notebook(("markdown", "# Two")), tmp_path / "nbs" / "index.ipynb")
    assert readme.main(["--check"]) == 1 and "One" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_links_of_the_readme_lead_somewhere(root):
    text = readme.CODE.sub("", (root / "README.md").read_text(encoding="utf-8"))
    targets = {t.partition("#")[0] for _, t in readme.TARGET.findall(text) if not re.match(r"[a-z]+:|#", t)}
    assert len(targets) > 10 and [t for t in sorted(targets) if not (root / t).exists()] == []
