"""A page for each module of the package, from its source alone: nothing is imported.

What nbdev calls docments, a comment beside a parameter, a field or what is returned, becomes a row of a table.
"""
import ast, io, re, tokenize
from pathlib import Path

PACKAGE = "resnet_course"
CELL = re.compile(r"^# %% (\S+\.ipynb) #(\w+)", re.M)


def page_name(path):
    "The page of a module's file, both relative to their roots."
    return Path("api", *path.with_suffix(".md").parts[1:])


def module_name(path):
    "resnet_course.checks.core for resnet_course/checks/core.py."
    return ".".join(path.with_suffix("").parts)


def comments(source):
    "The comment at the end of each line that has one: {line: text}."
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ").strip() for t in tokens if t.type == tokenize.COMMENT}


def code(text):
    "Text as code inside a table's cell."
    text = re.sub(r"\s+", " ", text)
    return f"`{text}`".replace("|", "\\|") if "`" not in text else f"`` {text} ``".replace("|", "\\|")


def prose(text):
    "A docstring or a comment as Markdown: code and emphasis stay; a link becomes its words, and no bracket or dollar means anything."
    parts = re.split(r"(`[^`]*`)", re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text))
    parts[::2] = [re.sub(r"([<>$\[\]_])", r"\\\1", p) for p in parts[::2]]
    return "".join(parts).replace("|", "\\|")


def typed(annotation, default):
    "`int = 1`: a parameter's type and default."
    words = [ast.unparse(annotation) if annotation else "", f"= {ast.unparse(default)}" if default else ""]
    return code(" ".join(filter(None, words))) if any(words) else ""


def parameters(function, notes):
    "Rows (name, type and default, meaning) of a function's parameters, and a line on what it returns."
    a, rows = function.args, []
    plain = a.posonlyargs + a.args
    defaults = dict(zip([p.arg for p in plain[::-1]], a.defaults[::-1])) | {p.arg: d for p, d in zip(a.kwonlyargs, a.kw_defaults) if d}
    listed = [("", p) for p in plain] + [("*", a.vararg)] * bool(a.vararg) + [("", p) for p in a.kwonlyargs] + [("**", a.kwarg)] * bool(a.kwarg)
    last = {p.lineno: p for _, p in listed}                    # of several on a line, the comment belongs to the last
    end = max([function.lineno, *(n.end_lineno for n in (*[p for _, p in listed], *a.defaults, *filter(None, a.kw_defaults)))])
    close = function.returns.lineno if function.returns else function.body[0].lineno - 1
    returned = notes.get(close, "") if close != end or close == function.lineno else ""
    for stars, p in listed:
        if p.arg in ("self", "cls"): continue
        d = defaults.get(p.arg)
        line = d.end_lineno if d else p.end_lineno
        meaning = notes.get(line, "") if last[p.lineno] is p and not (returned and line == close) else ""
        rows.append((f"`{stars}{p.arg}`", typed(p.annotation, d), prose(meaning)))
    kind = ast.unparse(function.returns) if function.returns else "None"
    back = ": ".join(filter(None, (code(kind.strip("'")) if kind != "None" else "", prose(returned))))
    return rows, f"Returns {back}" if back else ""


def fields(cls, notes):
    "Rows of a dataclass, a named tuple or a settings class: its annotated public names."
    return [(f"`{n.target.id}`", typed(n.annotation, n.value), prose(notes.get(n.end_lineno, "")))
            for n in cls.body if isinstance(n, ast.AnnAssign) and not n.target.id.startswith("_")]


def table(rows, first):
    "The rows as a Markdown table; columns that hold nothing are left out."
    if not rows: return ""
    head = (first, "type", "meaning")
    kept = [i for i in range(3) if i == 0 or any(r[i] for r in rows)]
    lines = [[head[i] for i in kept], ["---"] * len(kept), *([r[i] for i in kept] for r in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def call(name, function, skip_self=False):
    "How it is called, without types: the order of the arguments and what may be left out."
    bare = ast.parse(ast.unparse(function)).body[0].args
    for p in (*bare.posonlyargs, *bare.args, *bare.kwonlyargs, *filter(None, (bare.vararg, bare.kwarg))): p.annotation = None
    if skip_self: bare.args = bare.args[1:]
    one = f"{name}({ast.unparse(bare)})"
    if len(one) <= 80: return one
    return f"{name}(\n" + "".join(f"    {p},\n" for p in split(ast.unparse(bare))) + ")"


def split(arguments):
    "Arguments at their outer commas."
    parts, depth, quote = [""], 0, ""
    for c in arguments:
        if quote: quote = "" if c == quote else quote
        elif c in "'\"": quote = c
        else: depth += (c in "([{") - (c in ")]}")
        if c == "," and not depth and not quote: parts.append("")
        else: parts[-1] += c
    return [p.strip() for p in parts]


def is_a(node, name):
    "Whether a function carries the decorator."
    return any(ast.unparse(d).split("(")[0].endswith(name) for d in node.decorator_list)


def paragraphs(node):
    "A docstring as Markdown."
    doc = ast.get_docstring(node) or ""
    return "\n\n".join(prose(re.sub(r"\s*\n\s*", " ", p)) for p in doc.split("\n\n"))


def fence(text): return f"```python\n{text}\n```"


def function(node, notes, level, where, name=None, method=False):
    "A function or a method."
    shown = f"{'#' * level} {node.name if method else name or node.name}"
    kind = is_a(node, "property") or is_a(node, "cached_property")
    static = is_a(node, "staticmethod")
    how = "" if kind else fence(call(f"{name}.{node.name}" if method else node.name, node, skip_self=method and not static))
    rows, back = parameters(node, notes)
    parts = [shown, how, paragraphs(node), table(rows, "parameter"), back, where]
    return [p for p in parts if p]


def klass(node, notes, level, where):
    "A class: its constructor or its fields, then its public methods."
    methods = {n.name: n for n in node.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
    bases = ", ".join(ast.unparse(b) for b in node.bases)
    init = methods.get("__init__")
    parts = [f"{'#' * level} {node.name}"]
    parts.append(fence(call(node.name, init, skip_self=True) if init else f"class {node.name}{f'({bases})' if bases else ''}"))
    if init and bases: parts.append(f"A kind of {code(bases)}.")
    parts.append(paragraphs(node))
    parts.append(table(parameters(init, notes)[0], "parameter") if init else "")
    parts.append(table(fields(node, notes), "field"))
    parts.append(where)
    for name, method in methods.items():
        if (name.startswith("_") and name != "__call__") or is_a(method, "setter") or not (ast.get_docstring(method) or name == "forward"): continue
        parts += function(method, notes, level + 1, "", node.name, method=True)
    return [p for p in parts if p]


def constant(node, name, where):
    "A name that stands for a value."
    value = ast.unparse(node)
    return [f"## {name}", fence(value if len(value) <= 300 else value[:300].rsplit(",", 1)[0] + ", ...")] + [where] * bool(where)


def exported(tree):
    "The names in __all__."
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__": return ast.literal_eval(node.value)
    return []


def page(path, root, address, branch, sections, titles):
    "The page of one module."
    source = (root / path).read_text(encoding="utf-8")
    tree, notes = ast.parse(source), comments(source)
    cells = [(source[:m.start()].count("\n") + 1, m[1], m[2]) for m in CELL.finditer(source)]
    up = "../" * len(path.parts[1:])

    def place(line):
        "The notebook's section that a line comes from, as a link."
        before = [c for c in cells if c[0] <= line]
        if not before: return ""
        file = "nbs/" + before[-1][1].partition("nbs/")[2]
        anchor = sections.get(file, {}).get(before[-1][2])
        return f"[In the notebook]({up}{file.removeprefix('nbs/')}{f'#{anchor}' if anchor else ''})" if file in sections else ""

    parts, found, names = [], set(), exported(tree)
    for node in tree.body:
        where = place(node.lineno)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name in names: parts += function(node, notes, 2, where); found.add(node.name)
        elif isinstance(node, ast.ClassDef) and node.name in names: parts += klass(node, notes, 2, where); found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for t in target.elts if isinstance(target, ast.Tuple) else [target]:
                    if isinstance(t, ast.Name) and t.id in names and t.id not in found: parts += constant(node, t.id, where); found.add(t.id)
    origin = {a.asname or a.name: (n.module or "") for n in tree.body if isinstance(n, ast.ImportFrom) and n.level for a in n.names}
    more = [f"[`{n}`]({origin[n].replace('.', '/')}.md#{n.lower()})" for n in names if n not in found and n in origin]
    home = re.search(r"File to edit: (\S+?\.ipynb)", source)
    file = "nbs/" + home[1].partition("nbs/")[2] if home else None
    head = [f"# {module_name(path)}", paragraphs(tree)]
    links = [f"Written in the notebook [{titles[file]}]({up}{file.removeprefix('nbs/')})."] if file in titles else []
    links.append(f"[Source]({address}/blob/{branch}/{path.as_posix()}).")
    if more: links.append(f"Also here, from other modules: {', '.join(more)}.")
    if not (parts or more): links.append("It exports no names; what it does is in the notebook.")
    return "\n\n".join(p for p in [*head, " ".join(links), *parts] if p) + "\n", ast.get_docstring(tree) or "", file


def pages(root, address, branch, sections, titles):
    "All module pages and their index: {name of the page: Markdown}."
    files = sorted(p.relative_to(root) for p in (root / PACKAGE).rglob("*.py") if not p.name.startswith("_"))
    made, rows, plain, checks = {}, [], [], []
    for path in files:
        made[page_name(path)], about, _ = page(path, root, address, branch, sections, titles)
        here = page_name(path).relative_to("api").as_posix()
        (checks if "checks" in path.parts else plain).append(f"{module_name(path).partition('.')[2]} <{here.removesuffix('.md')}>")
        rows.append(f"| [`{module_name(path)}`]({here}) | {prose(about)} |")
    made[Path("api/index.md")] = "\n".join([
        "# The package", "", f"The notebooks export the package `{PACKAGE}`; each module comes from one notebook, and its page from the module's docstrings and the comments beside its parameters.",
        "", "| module | what it is for |", "|---|---|", *rows, "", "```{toctree}", ":hidden:", "", *plain, *checks, "```", ""])
    return made
