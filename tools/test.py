"""Everything that must hold before a commit, in one command; nothing in the checkout is changed.

    python tools/test.py

Package in step with the notebooks, notebooks clean, README in step with the index, badges in step with settings.ini, the
linter, the notebooks' cells (nbdev_test, at smoke scale), then the tests in tests/ that need neither a browser nor break things on
purpose: for those there are `make test-browser` and `make test-faults`.
"""
import filecmp, os, shutil, subprocess, sys, tempfile, time
from pathlib import Path

import badges
import readme
from nbtools import NBS, ROOT, notebooks, problems, run, script

LIMIT = 25 * 60  # seconds for nbdev_test, and for the tests: three to five times what an idle machine takes


def copied(folder):
    "A copy of what nbdev works on, with an empty package: what is exported there must equal the checkout's."
    for name in ("settings.ini", "pyproject.toml", "setup.py"): shutil.copy(ROOT / name, folder)
    shutil.copytree(NBS, folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    (folder / "resnet_course").mkdir()
    shutil.copy(ROOT / "resnet_course" / "__init__.py", folder / "resnet_course")
    return folder


def differences(a, b, pattern):
    "Files of folders a and b whose names fit the pattern and that are not the same."
    names = {p.relative_to(d) for d in (a, b) for p in d.rglob(pattern) if ".ipynb_checkpoints" not in p.parts}
    return sorted(str(n) for n in names if not ((a / n).exists() and (b / n).exists() and filecmp.cmp(a / n, b / n, shallow=False)))


def nbdev(name, folder):
    "Run one of nbdev's programs in a folder, its messages shown only when it fails."
    done = subprocess.run([script(name)], cwd=folder, capture_output=True, text=True)
    return done.returncode == 0 or print(done.stdout + done.stderr)


def check_export():
    "resnet_course/ is what the notebooks export."
    with tempfile.TemporaryDirectory() as tmp:
        folder = copied(Path(tmp))
        if not nbdev("nbdev_export", folder): return False
        wrong = differences(folder / "resnet_course", ROOT / "resnet_course", "*.py")
    for name in wrong: print(f"resnet_course/{name} is not what the notebooks export: make export")
    return not wrong


def check_clean():
    "The notebooks are clean, and hold nothing that GitHub refuses or that belongs to one machine."
    with tempfile.TemporaryDirectory() as tmp:
        folder = copied(Path(tmp))
        if not nbdev("nbdev_clean", folder): return False
        wrong = [f"nbs/{n}: not clean: make clean-nbs" for n in differences(folder / "nbs", NBS, "*.ipynb")]
    wrong += [f"{p.relative_to(ROOT)}: {problem}" for p in notebooks() for problem in problems(p)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return not wrong


def check_readme():
    "README.md is what the index gives."
    return readme.main(["--check"]) == 0


def check_badges():
    "Badges, the cell for Colab and CITATION.cff follow settings.ini."
    return badges.main(["--check"]) == 0


def check_lint():
    "The linter (ruff) finds no mistake and codespell no misspelt word, in notebooks too."
    return run([script("ruff"), "check", "--quiet", "--no-cache", "--output-format", "concise", "."], LIMIT) + run([script("codespell"), "."], LIMIT) == 0


def shared():
    "How many processes at once, and threads of each: more threads than cores take ten times as long"
    cores = os.cpu_count() or 1
    return str(min(2, cores)), str(max(1, cores // 2))


def check_cells():
    "The cells of all notebooks run (nbdev_test, with a limit of time that names the cell)."
    workers, threads = shared()
    return run([sys.executable, ROOT / "tools" / "cells.py", "--n_workers", workers, "--do_print", "--timing"], LIMIT,
               RESNET_COURSE_SCALE="smoke", OMP_NUM_THREADS=threads) == 0


def check_tests():
    "What no notebook cell can test, but for browsers and faults."
    workers, threads = shared()
    elsewhere = [f"--ignore=tests/{name}" for name in ("test_explore.py", "test_lab.py", "faults", "test_distributed.py")]     # a file is one process's, the longest first
    return run([sys.executable, "-m", "pytest", "tests/test_checks.py", "tests", *elsewhere, "-n", workers, "--dist", "loadfile", "--no-loadscope-reorder"], LIMIT, RESNET_COURSE_SCALE="smoke", OMP_NUM_THREADS=threads) == 0


def main():
    "Run all checks, the later ones too when one fails; pytest's closing line comes last when all is well."
    failed = []
    for check in (check_export, check_clean, check_readme, check_badges, check_lint, check_cells, check_tests):
        print(f"== {check.__doc__}", flush=True)
        start = time.time()
        if not check(): failed.append(check.__doc__)
        if check is not check_tests: print(f"   {'FAILED' if failed[-1:] == [check.__doc__] else 'ok'}, {time.time() - start:.0f} s", flush=True)
    for name in failed: print(f"FAILED: {name}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
