"""Make notebooks fit to be committed: no widget state, and what nbdev_clean does.

    python tools/clean.py [NOTEBOOK ...]     without names: all of nbs/
"""
import sys
from pathlib import Path

from nbdev.clean import nbdev_clean
from nbtools import notebooks, problems, read, strip_outputs, write


def clean(path):
    "Clean one notebook in place; True when that changed it."
    before = path.read_bytes()
    nb = read(path)
    if strip_outputs(nb): write(nb, path)
    nbdev_clean.__wrapped__(str(path))
    return path.read_bytes() != before


def main(names):
    "Clean the named notebooks, then say what cleaning cannot mend."
    left = 0
    for path in [Path(n) for n in names] or notebooks():
        if clean(path): print(f"cleaned {path}")
        for p in problems(path):
            left += 1
            print(f"{path}: {p}")
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
