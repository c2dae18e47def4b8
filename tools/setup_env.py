"""Makes .venv exactly what requirements.lock says. Standard library only; the Makefile calls it, and it works without make.

    python tools/setup_env.py [--torch default|cpu|cuda] [--dry-run]
"""
import argparse, csv, hashlib, json, os, re, shutil, subprocess, sys, time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "course-setup.json"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
GPU_ONLY = re.compile(r"^(nvidia-|cuda-|triton)")
# Measured for the lock of 2026 on Linux x86-64 and Python 3.11, in GB: (downloaded, on disk).
SIZES = {"gpu": (3.2, 6.0), "cpu": (0.5, 1.6)}


def say(*text):
    "Print at once, so that the order is right when another program prints next."
    print(*text, flush=True)


def run(*cmd, **kw):
    "Run a command in the checkout; a failure ends the set-up with its exit code and a hint."
    code = subprocess.call([str(c) for c in cmd], cwd=str(ROOT), **kw)
    if code:
        sys.exit("set-up: `%s` failed with exit code %d. Mend the cause named above and run the same command again; "
                 "what is downloaded is kept." % (" ".join(map(str, cmd)), code))


def wanted_key(torch):
    "A digest of everything that the environment depends on."
    parts = [(ROOT / f).read_bytes() for f in ("requirements.lock", "settings.ini", "setup.py", "pyproject.toml")]
    return hashlib.sha256(b"\0".join(parts + [torch.encode(), str(ROOT).encode()])).hexdigest()


def read_stamp():
    "What the last set-up left: {} if there was none, key None if it was interrupted."
    try:
        return json.loads(STAMP.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def dist_infos():
    "The metadata folders of the distributions in .venv."
    return [*VENV.glob("lib/python*/site-packages/*.dist-info"), *VENV.glob("Lib/site-packages/*.dist-info")]


def installed():
    "Names of the distributions in .venv, without their versions."
    return sorted({d.name.split("-")[0] for d in dist_infos()})


def damaged():
    "Names of the distributions that lack files, as an interrupted installation leaves them."
    def whole(info):
        "True when every file that the distribution lists is there."
        try:
            files = [row[0] for row in csv.reader((info / "RECORD").open(encoding="utf-8", newline="")) if row]
        except OSError:
            return False
        return all((info.parent / f).exists() for f in files if not f.endswith(".pyc"))
    return sorted({d.name.split("-")[0] for d in dist_infos() if not whole(d)})


def is_ready(stamp, key):
    "True when the finished set-up matches the key and nothing has gone missing since."
    return stamp.get("key") == key and PYTHON.exists() and set(stamp["packages"]) <= set(installed())


def python_works(*code):
    "True when .venv's interpreter starts, is new enough and runs the code."
    check = "import sys; assert sys.version_info >= (3, 10); " + "; ".join(code)
    try:
        return subprocess.run([str(PYTHON), "-c", check], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def ensure_venv():
    "Create .venv, or create it anew when its interpreter does not start or is too old."
    if python_works():
        return
    say("set-up: creating .venv with Python %d.%d" % sys.version_info[:2])
    if subprocess.call([sys.executable, "-m", "venv", "--clear", str(VENV)]):
        sys.exit("set-up: Python could not create .venv. On Debian and Ubuntu: apt-get install python3-venv, then run this again.")


def ensure_uv():
    "Bring uv, the installer, into .venv by pip where it is missing."
    if python_works("import uv; uv.find_uv_bin()"):
        return
    say("set-up: installing uv, the installer (about 20 MB)")
    if not python_works("import pip"):
        run(PYTHON, "-m", "ensurepip", "--upgrade")
    run(PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv>=0.7")


def lock_file(torch):
    "The lock, or for another build of torch a copy of it without the pins of the default build's GPU packages."
    if torch == "default":
        return LOCK
    path = VENV / ("requirements-%s.lock" % torch)
    path.write_text("".join(l for l in LOCK.read_text(encoding="utf-8").splitlines(True) if not GPU_ONLY.match(l)), encoding="utf-8")
    return path


def announce(torch):
    "Say what will be downloaded, how much, and what the alternative is."
    gpu = torch == "cuda" or (torch == "default" and sys.platform == "linux")
    download, disk = SIZES["gpu" if gpu else "cpu"]
    kind = {"default": "the default build for this system", "cpu": "CPU-only build", "cuda": "CUDA build for this driver"}[torch]
    say("set-up: installing the packages of requirements.lock into .venv: PyTorch (%s%s), JupyterLab and the rest." %
        (kind, ", with CUDA" if gpu and torch == "default" else ""))
    say("set-up: about %.1f GB to download if nothing is cached, about %.1f GB on disk (%.0f GB free)." %
        (download, disk, shutil.disk_usage(str(ROOT)).free / 1e9))
    if gpu:
        say("set-up: no NVIDIA GPU? TORCH=cpu (or --torch cpu) needs about %.1f GB instead." % SIZES["cpu"][0])


def main():
    "Set .venv up, or find in a moment that nothing is to be done."
    if sys.version_info < (3, 10):
        sys.exit("set-up: the course needs Python 3.10 or newer; this is %d.%d. With make, name another: make setup PYTHON=python3.12"
                 % sys.version_info[:2])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", choices=["default", "cpu", "cuda"], help="build of PyTorch; without it, the one chosen last time")
    parser.add_argument("--dry-run", action="store_true", help="say what would be installed, install nothing")
    args = parser.parse_args()
    stamp = read_stamp()
    torch = args.torch or stamp.get("torch") or "default"
    key = wanted_key(torch)
    if is_ready(stamp, key) and not args.dry_run:
        return
    if os.name != "nt":  # two set-ups at once: the second waits, then finds nothing to do
        import fcntl
        guard = LOCK.open(encoding="utf-8")
        fcntl.flock(guard, fcntl.LOCK_EX)
        stamp = read_stamp()
        if is_ready(stamp, key) and not args.dry_run:
            return
    start = time.time()
    ensure_venv()
    ensure_uv()
    uv = [PYTHON, "-m", "uv", "pip", "install", "--python", PYTHON]
    backend = {"default": [], "cpu": ["--torch-backend", "cpu"], "cuda": ["--torch-backend", "auto"]}[torch]
    again = damaged()
    if torch != stamp.get("torch", "default") or (torch != "default" and stamp.get("key") is None):
        again += ["torch", "torchvision"]  # the other build has the same version
    if "torch" in again or "torch" not in installed():
        announce(torch)
    else:
        say("set-up: bringing .venv in step with requirements.lock; what changes is listed below")
    again = ["--reinstall-package=" + name for name in again]
    if args.dry_run:
        return run(*uv, "--dry-run", "-r", lock_file(torch), *backend, *again)
    STAMP.write_text(json.dumps({"key": None, "torch": torch}), encoding="utf-8")  # until the end: an interrupted set-up
    run(*uv, "-r", lock_file(torch), *backend, *again)
    run(*uv, "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT)
    STAMP.write_text(json.dumps({"key": key, "torch": torch, "packages": installed()}), encoding="utf-8")
    say("set-up: ready after %.0f s" % (time.time() - start))


if __name__ == "__main__":
    main()
