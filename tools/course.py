"""Run every lesson in order, each in its own kernel; executed copies and HTML pages go to _course/.

    python tools/course.py [--only 03] [--timeout 3600] [--in-place]

RESNET_COURSE_SCALE (smoke, laptop, full) says how much is computed; laptop is the default. A lesson that fails does not
stop the others; its error is shown and the exit code is 1. A cell with the line `#| key_figure` names the lesson's key
figure: the last line of its text output.
"""
import argparse, copy, os, re, sys, time

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from nbconvert import HTMLExporter
from clean import clean
from nbtools import NBS, ROOT, WIDGET_VIEW, lessons

OUT = ROOT / "_course"
ANSI = re.compile(r"\x1b\[[0-9;]*m")


def key_figure(nb):
    "The last line of the text output of the cell marked `#| key_figure`, or '-'."
    for cell in nb.cells:
        if cell.cell_type == "code" and re.search(r"^#\s*\|\s*key_figure\b", cell.source, re.M):
            texts = [o.get("data", {}).get("text/plain") or o.get("text", "") for o in cell.outputs if o.get("name") != "stderr"]
            lines = [l.strip() for t in texts for l in t.splitlines() if l.strip()]
            if lines: return lines[-1].strip("'\"")
    return "-"


def show(line):
    "Progress: one line that is rewritten on a terminal; elsewhere nothing, so that logs stay short."
    if sys.stdout.isatty(): print(f"\r\x1b[K{line}", end="", flush=True)


def execute(nb, label, timeout):
    "Run a notebook's cells in a fresh kernel; the error's text, or None."
    start, total = time.time(), len(nb.cells)

    def progress(cell, cell_index, **_): show(f"{label}  cell {cell_index + 1}/{total}  {time.time() - start:.0f} s")

    client = NotebookClient(nb, timeout=timeout, kernel_name="python3", resources={"metadata": {"path": str(NBS)}},
                            extra_arguments=["--IPKernelApp.log_level=40"],  # errors only; it warns of plain TCP on localhost
                            on_cell_start=progress)
    try: client.execute()
    except (CellExecutionError, CellTimeoutError) as e: return ANSI.sub("", str(e)).strip()
    except Exception as e: return f"{type(e).__name__}: {e}"  # the kernel died, or none could be started


def save(nb, path):
    "Write the executed copy and a page of it."
    nbformat.write(nb, OUT / path.name)
    nb = copy.deepcopy(nb)
    for out in (o for c in nb.cells for o in c.get("outputs", ())):
        if "image/png" in out.get("data", {}): out.data.pop(WIDGET_VIEW, None)  # a page has no kernel: the picture, not its controls
    page, _ = HTMLExporter().from_notebook_node(nb, resources={"metadata": {"name": path.stem}})
    (OUT / f"{path.stem}.html").write_text(page, encoding="utf-8")


def table(rows):
    "The closing table as text."
    rows = [("lesson", "seconds", "key figure"), *rows]
    width = max(len(r[0]) for r in rows)
    return "\n".join(f"{a:<{width}}  {b:>7}  {c}" for a, b, c in rows)


def main():
    "Run the selected lessons and print the table."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="run the lessons whose names start with this: 03")
    parser.add_argument("--timeout", type=int, default=3600, help="most seconds for one cell")
    parser.add_argument("--in-place", action="store_true", help="write outputs back into nbs/ (cleaned); a failed lesson is left alone")
    args = parser.parse_args()
    paths = lessons(args.only)
    if not paths: sys.exit(f"no lesson starts with {args.only!r}; there are: {', '.join(p.stem for p in lessons())}")
    scale = os.environ.setdefault("RESNET_COURSE_SCALE", "laptop")
    print(f"{len(paths)} lessons at {scale} scale, in order; copies and pages go to {OUT.name}/", flush=True)
    OUT.mkdir(exist_ok=True)
    rows, failed = [], 0
    for i, path in enumerate(paths, 1):
        label, start = f"[{i}/{len(paths)}] {path.stem}", time.time()
        show(label)
        nb = nbformat.read(path, as_version=4)
        error = execute(nb, label, args.timeout)
        seconds = f"{time.time() - start:.0f}"
        save(nb, path)
        if error: print(f"\n{error}\n", flush=True)
        elif args.in_place:
            nbformat.write(nb, path)
            clean(path)
        failed += bool(error)
        rows.append((path.stem, seconds, "FAILED" if error else key_figure(nb)))
        show("")
        print(f"{label}  {'FAILED after ' if error else ''}{seconds} s", flush=True)
    print("\n" + table(rows))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
