"""Write the map of the exercises into nbs/index.ipynb as it looks before anybody began; what is passed on this machine stays out of it.

    python tools/map.py [--check]      --check writes nothing and exits with 1 when the committed map is another
"""
import sys

from nbtools import NBS, ROOT, read, text, write


def cell_of(nb):
    "The cell that shows the map."
    return next(c for c in nb["cells"] if c["cell_type"] == "code" and "progress_map()" in text(c["source"]))


def alt_of(cell):
    "The text alternative of the stored map, or ''."
    return next((o["metadata"].get("image/png", {}).get("alt", "") for o in cell["outputs"] if "metadata" in o), "")


def main(args):
    "Write the map, or with --check compare its text (pixels depend on the version of matplotlib)."
    sys.path.insert(0, str(ROOT))
    from resnet_course.checks.map import progress_map
    path, picture = NBS / "index.ipynb", progress_map({})
    nb = read(path)
    cell = cell_of(nb)
    if alt_of(cell) == picture.alt: return 0
    if "--check" in args:
        print("the map in nbs/index.ipynb is not that of the exercises, or holds somebody's progress: python tools/map.py")
        return 1
    data, metadata = picture._repr_mimebundle_()
    data = {"image/png": data["image/png"], "text/plain": data["text/plain"].splitlines(True)}
    cell.update(outputs=[dict(output_type="execute_result", execution_count=None, data=data, metadata=metadata)], execution_count=None)
    write(nb, path)
    print("the map in nbs/index.ipynb is written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
