"""Lessons that are run in another way than from the first cell to the last, once, in their own folder, with a network; and a cell that never ends."""
import ctypes, json, os, shutil, subprocess, sys
from pathlib import Path

import pytest

import nbtools

SMALL = ("import torch\nfrom resnet_course.data import LoaderConfig, create_embedded_loaders\nfrom resnet_course.resnet import create_model\nfrom resnet_course.training import TrainingConfig, fit",
         "loaders = create_embedded_loaders(LoaderConfig(batch_size=32, limit=320, eval_limit=50))\nmodel = create_model('resnet20', widths=(4, 8, 16), num_classes=len(loaders.classes))",
         "for _ in range(3): fit(model, loaders, TrainingConfig(epochs=1, lr=0.05), progress=False)")


def without_privileges():
    "In a new process: root, too, may only write where the permissions say so (Linux; elsewhere this does nothing)."
    if sys.platform == "linux":
        for capability in (1, 2): ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def read_only(folder):
    "A folder of notebooks where nothing can be written."
    for p in folder.rglob("*"): p.chmod(0o555 if p.is_dir() else 0o444)
    folder.chmod(0o555)
    return folder


@pytest.mark.skipif(os.name == "nt", reason="Windows has no read-only folders, and sends no SIGINT to one process")
def test_lessons_in_any_way(full, notebook, tmp_path):
    if full: shutil.copytree(nbtools.NBS, tmp_path / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    else: (tmp_path / "nbs").mkdir(); nbtools.write(notebook(*(("code", c) for c in SMALL)), tmp_path / "nbs" / "00_small.ipynb")
    nbs = read_only(tmp_path / "nbs")
    names = [p.stem for p in reversed(nbtools.lessons(folder=nbs)) if p.stem != "15_distributed"]  # that one starts processes of its own, for minutes
    (tmp_path / "a file").touch()
    env = dict(os.environ, RESNET_COURSE_SCALE="smoke", OMP_NUM_THREADS="1", IN_TEST="1", RESNET_COURSE_DATA=str(tmp_path / "nothing"), LESSONS_DATA=str(tmp_path / "a file"))
    program = [sys.executable, str(Path(__file__).with_name("lessons.py")), *(str(nbs / f"{n}.ipynb") for n in names)]
    try: done = subprocess.run(program, cwd=nbs, env=env, preexec_fn=without_privileges, capture_output=True, text=True, timeout=2400)
    finally:
        for p in (nbs, *nbs.rglob("*")): p.chmod(0o755)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["refused"] and not said["tried"], said                # the folder refused a file; nobody asked for the network
    assert [r for r in said["results"] if r["error"]] == [] and len(said["results"]) == len(names)
    stopped = sum(r["interrupted"] for r in said["results"])
    print(f"{len(names)} lessons, twice each in one process, the last one first; {stopped} of {len(names)} interrupted in their longest cell; {sum(r['cpu'] for r in said['results']):.0f} s")
    assert stopped == len(names)


REAL = """
import os
from pathlib import Path
from resnet_course.data import LoaderConfig, create_cifar10_loaders, create_pets_loaders
try: (Path(os.environ["RESNET_COURSE_DATA"]) / "x").touch(); print("not read-only")
except OSError: pass
for create, size in ((create_cifar10_loaders, 32), (create_pets_loaders, 48)):
    x, y = next(create(LoaderConfig(image_size=size, limit=64, eval_limit=40, batch_size=16)).train.batches(0))
    print(tuple(x.shape))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no read-only folders")
def test_real_data_in_a_folder_that_cannot_be_written(full, tmp_path):
    if not full: pytest.skip("in the full form")
    if not (nbtools.ROOT / "data" / "cifar10.safetensors").exists(): pytest.skip("the real data are not here")
    for name in ("cifar10.safetensors", "oxford-iiit-pet"):
        place = nbtools.ROOT / "data" / name
        if place.is_dir(): shutil.copytree(place, tmp_path / "data" / name)
        else: (tmp_path / "data").mkdir(); shutil.copy(place, tmp_path / "data")
    data = read_only(tmp_path / "data")
    try: done = subprocess.run([sys.executable, "-c", REAL], cwd=tmp_path, env=dict(os.environ, RESNET_COURSE_DATA=str(data)), preexec_fn=without_privileges, capture_output=True, text=True, timeout=300)
    finally:
        for p in (data, *data.rglob("*")): p.chmod(0o755)
    assert done.stdout.splitlines() == ["(16, 3, 32, 32)", "(16, 3, 48, 48)"] and "could not be written" in done.stderr, done.stdout + done.stderr


GOOD, HANGS = ("x = 1", "assert x == 1"), ("import itertools", "def count():\n    return sum(itertools.count())", "count()")  # one that even Ctrl-C does not end


def test_a_cell_that_hangs_is_named(notebook, tmp_path):
    (tmp_path / "nbs").mkdir(); (tmp_path / "settings.ini").write_text((nbtools.ROOT / "settings.ini").read_text(encoding="utf-8"), encoding="utf-8")
    for name, cells in dict(good=GOOD, hangs=HANGS).items(): nbtools.write(notebook(*(("code", c) for c in cells)), tmp_path / "nbs" / f"{name}.ipynb")
    program = [sys.executable, str(nbtools.ROOT / "tools" / "cells.py"), "--n_workers", "2", "--do_print"]
    for limit in ("3", "60"):  # the longer one where the machine is so busy that nothing had begun after three seconds
        done = subprocess.run(program, cwd=tmp_path, env=dict(os.environ, RESNET_COURSE_CELLS_LIMIT=limit), capture_output=True, text=True, timeout=200)
        said = done.stdout + done.stderr
        if "cell 3 (c002)" in said: break
    assert done.returncode == 1 and '"<hangs.ipynb, cell 3 (c002)>", line 1' in said and '"<hangs.ipynb, cell 2 (c001)>", line 2 in count' in said, said
    assert f"took more than {limit} s" in said and "Completed" in said and "good.ipynb, cell" not in said
