"""Try the oldest and the newest versions that settings.ini allows, on every Python: tests/versions.md says what passed.

    python tools/versions.py [--pythons 3.10 3.13] [--resolutions oldest newest]     # the other rows stay as they were

Each combination gets an environment of its own in a temporary folder: uv resolves the requirements (`lowest-direct` or `highest`,
wheels only), the built wheel is installed without the checkout, every module is imported, a tiny network is trained for two steps,
stored, loaded and explained, `resnet-course doctor` is asked; then nbdev_test runs a few notebooks from a copy of nbs/. About 6 GB
of disk at a time on Linux, and many more to download; a minute or two for each on an idle machine. What is not there to be tried is listed as not run.
"""
import argparse, os, platform, re, shutil, subprocess, sys, tempfile, time, zipfile
from pathlib import Path

from nbtools import NBS, ROOT

TABLE = ROOT / "tests" / "versions.md"
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
NOTEBOOKS = ("guess", "records", "store", "style")  # of nbs/lib: these touch widgets, files, pictures and figures
SHOWN = ("torch", "torchvision", "numpy", "pillow", "pydantic", "safetensors", "matplotlib", "scikit-learn", "ipywidgets", "jupyterlab", "fastcore", "execnb")
LIMIT = 20 * 60  # seconds for one command: most of it is downloading
NOT_RUN = ("Windows", "macOS", "Linux on ARM", "Colab and Binder", "Apple GPUs (mps)")
SMOKE = '''
import importlib, os, pathlib, pkgutil, sys
import torch
import resnet_course
from resnet_course.cli import main
assert "site-packages" in resnet_course.__file__, resnet_course.__file__
names = [m.name for m in pkgutil.walk_packages(resnet_course.__path__, "resnet_course.") if not m.name.endswith("__main__")]
for name in names: importlib.import_module(name)

pathlib.Path("c.yaml").write_text("""
name: tiny
data: {dataset: embedded, batch_size: 32, limit: 64, eval_limit: 50}
model: {name: resnet20, options: {widths: [4, 8, 16]}}
training: {epochs: 1, lr: 0.05}
""", encoding="utf-8")
assert main(["train", "c.yaml", "--folder", "run", "--quiet"]) == 0      # two steps; config, checkpoint, record, history and weights are written
assert main(["evaluate", "run"]) == 0                                    # the weights are read and measured again

from resnet_course.gradcam import grad_cam
from resnet_course.predict import stored_model
model, record = stored_model("run")
maps = grad_cam(model.eval(), torch.randn(2, 3, 32, 32))
assert len(maps) == 2 and torch.isfinite(maps).all()
assert main(["doctor"]) == 0
print(f"{len(names)} modules")
'''


class Failed(Exception):
    "A step of a combination that did not work"


def step(what, cmd, cwd, **env):
    "Run a command quietly; what it printed. Raises Failed, with its last lines"
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV", "RESNET_COURSE_DATA")}
    try: done = subprocess.run([str(c) for c in cmd], cwd=cwd, env={**clean, **env}, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=LIMIT)
    except subprocess.TimeoutExpired: raise Failed(f"{what}: not done after {LIMIT} s") from None
    if done.returncode: raise Failed(f"{what}:\n" + "\n".join((done.stdout + done.stderr).strip().splitlines()[-25:]))
    return done.stdout


def build(folder):
    "The wheel of this checkout, and what it requires."
    tree = folder / "tree"
    tree.mkdir()
    for name in ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in"): shutil.copy(ROOT / name, tree)
    shutil.copytree(ROOT / "resnet_course", tree / "resnet_course", ignore=shutil.ignore_patterns("__pycache__"))
    step("wheel", [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder, tree], folder)
    wheel = next(folder.glob("*.whl"))
    with zipfile.ZipFile(wheel) as z: about = z.read(next(n for n in z.namelist() if n.endswith("METADATA"))).decode()
    needs = folder / "requirements.in"
    needs.write_text("\n".join(r for r in re.findall(r"^Requires-Dist: (.+)$", about, re.M) if "extra ==" not in r) + "\n", encoding="utf-8")
    return wheel, needs


def attempt(python, resolution, wheel, needs, folder):
    "One combination; the table's cells for versions, smoke and notebooks. Raises Failed"
    uv, env = [sys.executable, "-m", "uv"], folder / "env"
    own = env / ("Scripts" if os.name == "nt" else "bin")
    step(f"no Python {python} here", [*uv, "venv", "--quiet", "--python", python, env], folder)
    step("resolving", [*uv, "pip", "compile", "--quiet", "--only-binary", ":all:", "--no-annotate", "--no-header", "--resolution", resolution,
                       "--python", own / "python", needs, "-o", folder / "versions.txt"], folder)
    versions = dict(l.split("==") for l in (folder / "versions.txt").read_text(encoding="utf-8").splitlines() if "==" in l)
    install = [*uv, "pip", "install", "--quiet", "--python", own / "python"]
    step("installing", [*install, "--only-binary", ":all:", "-r", folder / "versions.txt"], folder)
    step("installing the wheel", [*install, "--no-deps", wheel], folder)
    (folder / "elsewhere").mkdir()
    home = dict(HOME=str(folder), XDG_CACHE_HOME=str(folder / "cache"), RESNET_COURSE_SCALE="smoke")
    smoke = step("smoke", [own / "python", "-c", SMOKE], folder / "elsewhere", **home).splitlines()[-1]
    step("the program", [own / "resnet-course", "--version"], folder / "elsewhere", **home)
    shutil.copytree(NBS, folder / "nbs", ignore=shutil.ignore_patterns(".ipynb_checkpoints"))
    shutil.copy(ROOT / "settings.ini", folder)
    step("notebooks", [own / "nbdev_test", "--path", Path("nbs") / "lib", "--file_re", rf"^({'|'.join(NOTEBOOKS)})\.ipynb$", "--n_workers", "0"], folder, **home)
    version = step("python", [own / "python", "-c", "import platform; print(platform.python_version())"], folder).strip()
    return version, ", ".join(f"{n} {versions[n]}" for n in SHOWN if n in versions), smoke, str(len(NOTEBOOKS))


def earlier(path):
    "The rows of an earlier table, by Python (3.10) and name."
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [tuple(cell.strip() for cell in l.strip("|").split("|")) for l in lines if l.startswith("| 3.")]
    return {(minor(r[0]), r[1]): r for r in rows}


def minor(version):
    "3.10 of 3.10.13; a path stays what it is"
    return ".".join(version.split(".")[:2]) if version[:1].isdigit() else version


def page(rows):
    "The table."
    return "\n".join([
        "# Versions that were tried", "",
        "Made by `make versions` (tools/versions.py). Oldest and newest are what uv resolves from settings.ini with `lowest-direct` and `highest`, from wheels alone: where the",
        "oldest allowed version has no wheel for a Python, the oldest that has one stands in. The wheel of the course was installed without the checkout. *Smoke*: every module imported, a tiny",
        "network trained for two steps, stored, measured again and explained by Grad-CAM, and `resnet-course doctor` without an error. *Notebooks*: " + ", ".join(NOTEBOOKS) + " of nbs/lib by `nbdev_test`.", "",
        f"On {platform.system()} {platform.machine()}, without a GPU in use.", "",
        "| Python | versions | resolved | smoke | notebooks | result |", "|---|---|---|---|---|---|",
        *(f"| {' | '.join(r)} |" for r in rows),
        *(f"| any | any | {what} | | | not run: nothing of it was at hand |" for what in NOT_RUN), ""])


def main():
    "Try every combination, write the table; 1 if one failed."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", default=PYTHONS, help="versions, or paths of interpreters")
    parser.add_argument("--resolutions", nargs="+", choices=RESOLUTIONS, default=list(RESOLUTIONS))
    parser.add_argument("--out", type=Path, default=TABLE)
    args = parser.parse_args()
    rows, failed = earlier(args.out), 0
    with tempfile.TemporaryDirectory() as top:
        wheel, needs = build(Path(top))
        for python in args.pythons:
            for name in args.resolutions:
                start = time.time()
                with tempfile.TemporaryDirectory(dir=top) as folder:
                    try:
                        version, *cells = attempt(python, RESOLUTIONS[name], wheel, needs, Path(folder))
                        row = (version, name, *cells, "passed")
                    except Failed as e:
                        what, _, said = str(e).partition(":\n")
                        absent = what.startswith("no Python")
                        row = (python, name, "", "", "", f"not run: {what}" if absent else f"FAILED: {what}")
                        failed += not absent
                        if said: print(said, flush=True)
                rows[minor(row[0]), name] = row
                print(f"Python {python}, {name}: {row[-1]}, {time.time() - start:.0f} s", flush=True)
                args.out.write_text(page([rows[k] for k in sorted(rows, key=str)]), encoding="utf-8", newline="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
