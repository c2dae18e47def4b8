"""Let git merge notebooks cell by cell in this clone, by nbdev's merge driver. Writes two lines of .git/config, nothing else.

    python tools/hooks.py [--remove]

Where the driver is not set up, .gitattributes has no effect and git merges notebooks as text.
"""
import subprocess, sys
from pathlib import Path

from nbtools import ROOT, script

SECTION = "merge.nbdev-merge"  # .gitattributes names it


def git(*args):
    "Run git in the checkout; its exit code."
    return subprocess.call(["git", "-C", str(ROOT), "config", "--local", *args])


def main(args):
    "Set the driver up, or with --remove take it out."
    if "--remove" in args: return git("--remove-section", SECTION)
    failed = git(f"{SECTION}.name", "notebooks, cell by cell (nbdev)") or git(f"{SECTION}.driver", f'"{Path(script("nbdev_merge")).as_posix()}" %O %A %B %P')
    if not failed: print("git merges notebooks cell by cell in this clone; undo with: python tools/hooks.py --remove")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
