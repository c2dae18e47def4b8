"""What breaks on another system, looked for in every source of the course: notebooks, tools, tests, benchmarks. Nothing is run, so this holds on Linux, too.

A trap is found by its form. Where it is meant, it stands in MEANT with the reason; a new one fails.
"""
import ast, json, re, subprocess
from pathlib import PurePosixPath

import pytest
from IPython.core.inputtransformer2 import TransformerManager

from nbtools import ROOT, text

NOT_ON_WINDOWS = {"fork", "forkpty", "killpg", "setsid", "getuid", "geteuid", "setuid", "mkfifo", "chown", "sysconf", "getloadavg", "statvfs", "sched_getaffinity", "nice",
                  "SIGKILL", "SIGSTOP", "SIGCONT", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "alarm", "setitimer", "pthread_kill"}  # of os and signal
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "posix", "syslog"}
GUARD = re.compile(r"os\.name|sys\.platform|platform\.system|hasattr|ImportError|skipif|\.exists\(\)|is_file\(\)|is_dir\(\)")
OTHER_OPENS = re.compile(r"^(Image|webbrowser|os|tarfile|zipfile|urllib)\b")
RESERVED = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.I)
MEANT = {  # (file, trap): why
    ("benchmarks/faults.py", "signal.SIGKILL"): "Linux alone, as its first lines and tests/test_distributed.py say",
    ("benchmarks/faults.py", "signal.SIGSTOP"): "as above",
    ("benchmarks/faults.py", "os.killpg"): "as above",
    ("benchmarks/growth.py", "/proc/self/status"): "a Path that is asked whether it exists",
    ("tests/faults/lives.py", "os.fork"): "called by tests that are skipped on Windows",
    ("tests/faults/lives.py", "signal.SIGKILL"): "as above",
    ("tests/faults/test_trainings.py", "signal.SIG*"): "as above",
    ("tests/faults/test_trainings.py", "os.*"): "as above",
    ("tests/faults/test_trainings.py", "import resource"): "as above",
    ("tests/faults/test_untrusted_network.py", "/tmp/x"): "a member that is refused, never opened",
    ("tests/faults/test_untrusted_network.py", "/etc/passwd"): "as above, and an address that is asked for",
    ("tests/faults/test_untrusted_network.py", "/proc/net/tcp*"): "of a test that needs /proc",
    ("tests/faults/test_untrusted_pictures.py", "/dev/zero"): "of a test that is skipped where it is not there",
    ("tests/faults/test_untrusted_pictures.py", "os.sysconf"): "of a test that needs /proc",
    ("tests/faults/test_untrusted_pictures.py", "/proc/self/statm"): "as above",
    ("nbs/lib/speed.ipynb", "import resource"): "called where keep_memory() found the C library of Linux",
    ("nbs/lib/speed.ipynb", "/sys/kernel/mm/transparent_hugepage/enabled"): "read on Linux alone, inside except OSError",
    ("nbs/lib/core.ipynb", "/proc/cpuinfo"): "a Path that is asked whether it exists",
    ("nbs/lib/store.ipynb", "/sys/fs/cgroup/memory.max"): "read inside suppress(OSError)",
    ("nbs/lib/doctor.ipynb", "/sys/fs/cgroup/*"): "read by _limit, which looks whether they are files",
    ("nbs/lib/download.ipynb", "/etc/passwd"): "the name of a member that is refused, never opened",
}


def committed():
    "The files of the repository, with slashes."
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode: pytest.skip("not a git checkout")
    return done.stdout.splitlines()


def sources():
    "(file, cell or '', code) of everything that is written by hand."
    ipython = TransformerManager()
    for name in committed():
        path = ROOT / name
        if not path.exists() or name.startswith("resnet_course/") or name == "tests/faults/test_platforms.py": continue  # made from the notebooks; full of traps
        if name.endswith(".py"): yield name, "", path.read_text(encoding="utf-8")
        if name.endswith(".ipynb"):
            for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
                if cell["cell_type"] == "code": yield name, cell["id"], ipython.transform_cell(text(cell["source"]))


def mode(call, place):
    "The mode that a call of open names; '?' for one that is computed."
    given = next((k.value for k in call.keywords if k.arg == "mode"), call.args[place] if len(call.args) > place else ast.Constant("r"))
    return given.value if isinstance(given, ast.Constant) else "?"


def no_encoding(call):
    "A text file is read or written as this system's language has it; ASCII that stands in the call needs none."
    f, keys = call.func, {k.arg for k in call.keywords}
    if keys & {"encoding", None}: return False
    if isinstance(f, ast.Name) and f.id == "open": return "b" not in mode(call, 1)
    if not isinstance(f, ast.Attribute): return False
    if f.attr == "open": return not OTHER_OPENS.match(ast.unparse(f)) and not re.search("[b?]", mode(call, 0)) and len(call.args) < 2
    if f.attr == "read_text": return not call.args
    if f.attr == "write_text": return len(call.args) == 1 and not (isinstance(call.args[0], ast.Constant) and str(call.args[0].value).isascii())
    return False


def trap(node):
    "What of this node is not on every system; None for nothing."
    if isinstance(node, ast.Call) and no_encoding(node): return "no encoding"
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("os", "signal") and node.attr in NOT_ON_WINDOWS: return f"{node.value.id}.{node.attr}"
    if isinstance(node, ast.Import) and (found := MODULES & {a.name for a in node.names}): return f"import {sorted(found)[0]}"
    if isinstance(node, ast.ImportFrom) and node.module in MODULES: return f"import {node.module}"
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.match(r"/(tmp|dev|proc|sys|etc|usr|var|home|bin)/[\w./-]+$", node.value): return node.value
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("split", "rsplit", "partition", "rpartition") \
            and ast.unparse(node.func.value).startswith(("str(", "os.path", "__file__")) and node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == "/": return "a path split at /"
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and any(isinstance(s, ast.Call) and ast.unparse(s.func) == "str" for s in (node.left, node.right)) \
            and any(isinstance(s, ast.Constant) and isinstance(s.value, str) and re.match(r"/\w|\w+/$", s.value) for s in (node.left, node.right)): return "a path joined with /"
    return None


def traps(code):
    "(line, trap) of all that stand there without a guard: a test of the system in a statement, condition or decorator around it, or before it in the function."
    tree, found = ast.parse(code), []
    def visit(node, guarded):
        if isinstance(node, (ast.If, ast.IfExp, ast.BoolOp, ast.While, ast.Try, ast.With)):
            heads = [node.test] if hasattr(node, "test") else [h.type for h in node.handlers if h.type] if isinstance(node, ast.Try) else [i.context_expr for i in node.items] if isinstance(node, ast.With) else node.values
            guarded = guarded or any(GUARD.search(ast.unparse(h)) for h in heads)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)): guarded = guarded or any(GUARD.search(ast.unparse(d)) for d in node.decorator_list) \
            or any(isinstance(s, ast.If) and GUARD.search(ast.unparse(s.test)) and isinstance(s.body[-1], (ast.Return, ast.Raise)) for s in node.body)
        if isinstance(node, ast.Module): guarded = any(isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == "pytestmark" and GUARD.search(ast.unparse(s.value)) for s in node.body)
        what = trap(node)
        if what and (not guarded or what == "no encoding"): found.append((getattr(node, "lineno", 0), what))
        for child in ast.iter_child_nodes(node): visit(child, guarded)
    visit(tree, False)
    return found


def test_no_new_trap():
    found, seen, meant, used = [], 0, {(f, t.rstrip("*")): t.endswith("*") for f, t in MEANT}, set()
    for name, cell, code in sources():
        seen += 1
        for line, what in traps(code):
            key = next((k for k, prefix in meant.items() if k[0] == name and (what.startswith(k[1]) if prefix else what == k[1])), None)
            if key: used.add(key)
            else: found.append(f"{name}{f' {cell}' if cell else ''}, line {line}: {what}")
    print(f"{seen} sources, {len(found)} traps, {len(used)} that are meant")
    assert found == [], "\n".join(["on Windows or macOS these are not as here; guard them, or give the reason in MEANT:", *found])
    assert used == set(meant), f"no longer there, take it off the list: {set(meant) - used}"


@pytest.mark.parametrize("code, what", [
    ("p.read_text()", "no encoding"), ("open(f)", "no encoding"), ("open(f, 'w')", "no encoding"), ("p.open()", "no encoding"), ("p.write_text(s)", "no encoding"), ("p.write_text('ü')", "no encoding"),
    ("os.fork()", "os.fork"), ("os.kill(p, signal.SIGKILL)", "signal.SIGKILL"), ("import fcntl", "import fcntl"), ("from resource import getrusage", "import resource"), ("open('/tmp/x', 'rb')", "/tmp/x"),
    ("str(p).split('/')", "a path split at /"), ("str(folder) + '/x'", "a path joined with /"),
])
def test_a_trap_is_found(code, what): assert what in [t for _, t in traps(code)]


@pytest.mark.parametrize("code", [
    "p.read_text(encoding='utf-8')", "open(f, 'rb')", "Image.open(f)", "p.write_text('plain')", "if os.name != 'nt':\n    import fcntl", "x = os.getuid() if hasattr(os, 'getuid') else 0",
    "try: import resource\nexcept ImportError: pass", "@pytest.mark.skipif(os.name == 'nt', reason='')\ndef f(): os.kill(1, signal.SIGKILL)", "name.split('/')", "def f():\n    if os.name == 'nt': return\n    os.killpg(1, 2)",
])
def test_what_is_no_trap(code): assert traps(code) == []


def test_names_of_files_fit_every_system():
    names = committed()
    folders = {str(p) for n in names for p in PurePosixPath(n).parents}
    assert [n for n in names if len(n) > 100] == [] and len(names) > 100
    assert [n for n in names if any(RESERVED.match(part) or part[-1] in ". " or re.search(r'[<>:"|?*\\\x00-\x1f]', part) or not part.isascii() for part in n.split("/"))] == []
    lower = [n.lower() for n in {*names, *folders}]
    assert len(lower) == len(set(lower)), sorted({n for n in lower if lower.count(n) > 1})
