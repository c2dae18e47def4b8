"""JupyterLab on the course's index: on localhost only, with a token, with or without a browser and a screen.

    python tools/lab.py [--port 8888] [--no-browser]
"""
import argparse, json, os, subprocess, sys
from pathlib import Path

from nbtools import ROOT


def has_screen():
    "True where opening a browser makes sense."
    return sys.platform in ("win32", "darwin") or any(os.environ.get(v) for v in ("DISPLAY", "WAYLAND_DISPLAY"))


def command(port, browser, root=ROOT):
    "The command line that starts JupyterLab."
    return [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}", "--LabApp.default_url=/lab/tree/nbs/index.ipynb",
            "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.allow_root=True",
            f"--ServerApp.open_browser={browser}",
            f"--ServerApp.tornado_settings={dict(websocket_max_message_size=64 * 2**20)}",  # a picture that is too large for an explorer is refused with words
            "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate"]


def prepare():
    "For JupyterLab in this environment: no question about news, and with it no look-up on the network; long lines of code are wrapped, not cut."
    share = Path(sys.prefix, "share", "jupyter", "lab", "settings", "overrides.json")
    page = Path(sys.prefix, "etc", "jupyter", "labconfig", "page_config.json")
    for path, settings in ((page, {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}),
                           (share, {"@jupyterlab/notebook-extension:tracker": {"codeCellConfig": {"lineNumbers": False, "lineWrap": True}}})):
        if path.exists(): continue                       # somebody's own settings
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings), encoding="utf-8")


def main():
    "Start JupyterLab and stay until it ends."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8888, help="the next free one is taken if it is in use")
    parser.add_argument("--no-browser", action="store_true")
    parser.add_argument("--root", default=ROOT, help="folder to serve; it must hold nbs/index.ipynb (default: this checkout)")
    args = parser.parse_args()
    prepare()
    browser = has_screen() and not args.no_browser
    print("JupyterLab starts; " + ("your browser opens it. If it does not, open" if browser else "open") +
          " the address with the token that is printed below. Ctrl-C twice ends it.", flush=True)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])     # `resnet-course ...` in JupyterLab's terminal
    try: return subprocess.call(command(args.port, browser, args.root), env=dict(os.environ, PATH=programs))
    except KeyboardInterrupt: return 0


if __name__ == "__main__":
    sys.exit(main())
