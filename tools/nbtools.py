"What the tools share: where the notebooks are, how they are cleaned, and what is wrong with one."
import contextlib, json, os, re, signal, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NBS = ROOT / "nbs"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
MAX_BYTES = 1_000_000  # GitHub stops rendering at about 1 MB
HOME_PATH = re.compile(r"(?<![\w./:-])(?:/(?:home|Users|root|work)/[\w.]|/tmp/ipykernel_)|\b[A-Z]:\\+Users\\+\w")


def notebooks(folder=NBS):
    "All notebooks of the course, lessons and engine room, in order."
    return sorted(p for p in Path(folder).rglob("*.ipynb") if not any(part.startswith((".", "_")) for part in p.relative_to(folder).parts))


def lessons(only="", folder=NBS):
    "The lessons in reading order; `only` selects those whose names start with it."
    return sorted(p for p in Path(folder).glob("[0-9]*.ipynb") if p.name.startswith(only))


def script(name):
    "A program of the environment that this Python belongs to."
    return str(Path(sys.executable).parent / (name + (".exe" if os.name == "nt" else "")))


def read(path):
    "A notebook as a dict."
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write(nb, path):
    "Write a notebook as nbdev does: one space of indentation, keys sorted, a newline at the end."
    Path(path).write_text(json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8", newline="\n")


def text(source):
    "A notebook's text field, which is a string or a list of lines."
    return source if isinstance(source, str) else "".join(source)


def strip_outputs(nb):
    "Remove widget state and views (nbdev_clean keeps them, GitHub refuses them) and a picture's HTML twin; True if there were any."
    found = nb["metadata"].pop("widgets", None) is not None
    for cell in nb["cells"]:
        kept = []
        for out in cell.get("outputs", []):
            data = out.get("data", {})
            if "text/html" in data and "alt" in out.get("metadata", {}).get("image/png", {}):  # the same picture, made for a live page
                found = True
                del data["text/html"]
            if WIDGET_VIEW in data:
                found = True
                del data[WIDGET_VIEW]
                if set(data) <= {"text/plain"}: continue  # only "interactive(children=...)" is left
            kept.append(out)
        if "outputs" in cell: cell["outputs"] = kept
    return found


def problems(path):
    "What must not be committed in a notebook, one line each."
    raw = Path(path).read_bytes()
    found = [f"{len(raw) / 1e6:.1f} MB; GitHub renders up to 1 MB"] if len(raw) > MAX_BYTES else []
    try: nb = json.loads(raw)
    except ValueError as e: return found + [f"not valid JSON: {e}"]
    if "widgets" in nb["metadata"]: found.append("stored widget state (metadata.widgets)")
    for n, cell in enumerate(nb["cells"]):
        if re.match(r"`(<{7} |={7}`|>{7} )", text(cell["source"])): found.append(f"cell {n}: a merge that is not finished")
        for out in cell.get("outputs", []):
            if out.get("output_type") == "error": found.append(f"cell {n}: a stored error: {out.get('ename')}: {out.get('evalue')}")
            if WIDGET_VIEW in out.get("data", {}): found.append(f"cell {n}: a stored widget view")
        for line in cell_texts(cell):
            if m := HOME_PATH.search(line): found.append(f"cell {n}: a path of one machine: {line[m.start():m.start() + 60].strip()}")
    return found


def cell_texts(cell):
    "The lines of a cell that a reader sees: its source and its text outputs (pictures are left out)."
    parts = [text(cell["source"])]
    for out in cell.get("outputs", []):
        parts.append(text(out.get("text", "")))
        parts += [text(v) for k, v in out.get("data", {}).items() if k.startswith("text/") and isinstance(v, (str, list))]
    return [line for part in parts for line in part.splitlines()]


def run(cmd, limit, **env):
    "Run a command in the checkout and return its exit code; after `limit` seconds it is ended with all that it started (124)."
    group = {} if os.name == "nt" else {"start_new_session": True}
    proc = subprocess.Popen([str(c) for c in cmd], cwd=ROOT, env={**os.environ, **env}, **group)
    try:
        return proc.wait(limit)
    except subprocess.TimeoutExpired:
        print(f"ended after {limit} s: {' '.join(map(str, cmd))}", flush=True)
        return 124
    finally:
        if os.name == "nt": proc.kill()
        else:
            with contextlib.suppress(OSError): os.killpg(proc.pid, signal.SIGKILL)  # also what it left behind
        proc.wait()
