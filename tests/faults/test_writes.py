"Whatever the package writes is written beside its place, synced and renamed: its code is read, and a plain write named."
import ast

import pytest

# file: {a call that writes without `replace_file`: why it may}
ALLOWED = {
    "cli.py": {"os.open(os.devnull, os.O_WRONLY)": "nothing is written"},
    "core.py": {"tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.tmp', dir=path.parent)": "replace_file itself", "open(tmp, 'rb+')": "replace_file itself", "os.replace(tmp, path)": "replace_file itself"},
    "doctor.py": {"tempfile.TemporaryFile(dir=there)": "gone when it is closed"},
    "download.py": {
        "open(part, 'ab')": "the temporary file itself: it grows from one try to the next, and its checksum is compared before it gets its name",
        "part.write_bytes(b'')": "the same", "open(part, 'rb+')": "to sync it", "os.replace(part, path)": "after its checksum, synced",
        "_origin(part).write_text(f'{url}\\n{mark}', encoding='utf-8')": "a note beside the temporary file; half of it lets the download begin anew",
        "tar.extract(member, folder)": "into a folder that is counted, synced and renamed as a whole",
        "os.replace(stage / dataset.target, root / dataset.target)": "that folder, synced"},
    "experiment.py": {"open(folder / 'log.txt', 'a', encoding='utf-8')": "a line at a time, which nothing reads again"},
    "report.py": {"fig.savefig(buffer, format='png', dpi=150, metadata={'Description': alt})": "into memory"},
    "style.py": {"image.save(buffer, 'PNG', **options)": "into memory"},
    "checks/lesson04.py": {"torch.save(saved, file)": "into memory"},
}
WRITES = {"write_text", "write_bytes", "savez", "savez_compressed", "savetxt", "savefig", "save", "save_file", "save_npz", "dump", "safe_dump", "tofile", "copyfile", "copy2", "copytree", "move", "mkstemp",
          "NamedTemporaryFile", "TemporaryFile", "touch", "symlink_to", "hardlink_to", "truncate", "extract", "extractall", "urlretrieve", "imsave", "FileHandler", "memmap", "open_memmap"}


def dotted(node): return ast.unparse(node) if isinstance(node, (ast.Name, ast.Attribute)) else ""


def writes(call):
    "May this call write a file?"
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    words = [a.value for a in [*call.args, *(k.value for k in call.keywords if k.arg == "mode")] if isinstance(a, ast.Constant) and isinstance(a.value, str)]
    if dotted(call.func) == "os.open": return True
    if name in ("open", "fdopen", "GzipFile", "ZipFile", "TarFile"): return any(len(w) <= 3 and set(w) & set("wax+") and not set(w) - set("wax+rbt") for w in words)
    if name in ("replace", "rename"): return dotted(call.func).startswith("os.") or len(call.args) == 1 and not call.keywords
    if name in ("dump", "safe_dump", "save") and isinstance(call.func, ast.Attribute) and len(call.args) < 2 - (name == "save"): return False      # a text is given back
    return name in WRITES and "io.BytesIO()" not in ast.unparse(call)      # into memory


def plain_writes(source):
    "Calls of a module that may write a file and have nothing to do with the temporary file of `replace_file`"
    found = []
    def walk(node, beside):
        if isinstance(node, ast.With) and any("replace_file(" in ast.unparse(i.context_expr) for i in node.items):
            beside = beside | {n.id for i in node.items if i.optional_vars for n in ast.walk(i.optional_vars) if isinstance(n, ast.Name)}
        if isinstance(node, ast.Call) and writes(node) and not beside & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}: found.append(ast.unparse(node))
        for child in ast.iter_child_nodes(node): walk(child, beside)
    walk(ast.parse(source), frozenset())
    return found


@pytest.mark.parametrize("source", ["Path(p).write_text('x')", "open(p, 'w')", "p.open('ab')", "open(p, mode='r+')", "torch.save(s, p)", "np.savez(p, x)", "fig.savefig(p)", "save_file(s, p)", "json.dump(v, f)", "os.replace(a, b)",
                                    "p.rename(q)", "shutil.copyfile(a, b)", "with replace_file(p) as tmp: q.write_text('x')", "image.save(p)", "yaml.safe_dump(v, f)"])
def test_a_plain_write_is_seen(source): assert plain_writes(source)


@pytest.mark.parametrize("source", ["with replace_file(p) as tmp: tmp.write_text('x')", "with replace_file(p) as tmp, open(tmp, 'w') as f: pass", "open(p)", "open(p, 'rb')", "s.replace('a', 'b')", "yaml.safe_dump(v)", "Image.open(p)", "torch.save(s, f := io.BytesIO())"])
def test_other_calls_are_left_alone(source): assert not plain_writes(source)


def test_every_file_is_written_beside_its_place(root):
    package, found, calls = root / "resnet_course", {}, 0
    for path in sorted(package.rglob("*.py")):
        if path.name == "_modidx.py": continue
        text = path.read_text(encoding="utf-8"); calls += text.count("replace_file(")
        found[path.relative_to(package).as_posix()] = plain_writes(text)
    new = [f"{name}: {call}" for name, all_ in found.items() for call in all_ if call not in ALLOWED.get(name, {})]
    gone = [f"{name}: {call}" for name, all_ in ALLOWED.items() for call in all_ if call not in found.get(name, [])]
    print(f"{calls - 1} uses of replace_file, {sum(map(len, found.values()))} other writes, all known")
    assert not new, "write through replace_file, or say in ALLOWED why not:\n" + "\n".join(new)
    assert not gone, "no longer there, take it off ALLOWED:\n" + "\n".join(gone)
