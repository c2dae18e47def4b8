"""The explorers as web pages, served by Voila: on localhost only unless asked otherwise, with a token, without code.

    python tools/explore.py [--port 8866] [--ip 127.0.0.1] [--no-browser]
"""
import argparse, json, os, secrets, signal, subprocess, sys, tempfile
from pathlib import Path

from lab import has_screen
from nbtools import ROOT, write

# One notebook serves the start page and all explorers: which one stands in the address. The start page needs no import.
PAGE = """\
import os
from urllib.parse import parse_qs
from IPython.display import display
from ipywidgets import HTML   # Voila would open the links of IPython's HTML in a new tab
name = parse_qs(os.environ.get("QUERY_STRING", "")).get("explorer", [""])[0]
if name:
    from resnet_course.gallery import page
    page(name)
else: display(HTML(open("start.html", encoding="utf-8").read()))
"""

# Voila's own page asks another server for icons that it brings along anyway; ours asks nobody.
TEMPLATE = """\
{%- extends "voila/templates/lab/index.html.j2" -%}
{%- block notebook_css -%}{{ super() | replace("https://cdn.jsdelivr.net/npm/@fortawesome/fontawesome-free@^5/css/", "data:text/css,") }}{%- endblock -%}
"""


def make_pages(folder):
    "The notebook that Voila serves, the start page that it shows, and the template of both."
    from resnet_course.gallery import start_page
    (folder / "start.html").write_text(start_page(), encoding="utf-8")
    template = folder / "jupyter" / "voila" / "templates" / "course"
    template.mkdir(parents=True)
    (template / "index.html.j2").write_text(TEMPLATE, encoding="utf-8")
    (template / "conf.json").write_text(json.dumps({"base_template": "lab"}), encoding="utf-8")
    cell = dict(id="page", cell_type="code", metadata={}, source=PAGE, execution_count=None, outputs=[])
    kernel = dict(display_name="Python 3", language="python", name="python3")
    notebook = folder / "resnet-course.ipynb"
    write(dict(nbformat=4, nbformat_minor=5, metadata=dict(kernelspec=kernel), cells=[cell]), notebook)
    return notebook


def settings(ip, port, token):
    "Voila's settings. Without the token, or the cookie that it brings, no page is shown and no kernel started. Kernels that nobody looks at any more end after a quarter of an hour, if the page could not end them."
    return {"Voila": {"ip": ip, "port": port, "token": token, "open_browser": False,
                      "tornado_settings": {"disable_check_xsrf": True,                 # a page that is left ends its kernel by a POST without Voila's cookie
                                           "websocket_max_message_size": 64 * 2**20}},  # what is too large is to be refused with words
            "VoilaConfiguration": {"template": "course", "theme": "light", "allow_theme_override": "NO", "allow_template_override": "NO", "file_allowlist": ["nothing"]},
            "MappingKernelManager": {"cull_interval": 60, "cull_idle_timeout": 900}}


def main():
    "Serve until Ctrl-C."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--ip", default="127.0.0.1", help="another address lets others in who know the token, and every visitor gets a Python process here")
    parser.add_argument("--no-browser", action="store_true")
    args = parser.parse_args()
    token = secrets.token_hex(24)
    address = f"http://{args.ip}:{args.port}/?token={token}"
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory() as folder:
        notebook = make_pages(Path(folder))
        Path(folder, "voila.json").write_text(json.dumps(settings(args.ip, args.port, token)), encoding="utf-8")
        more = lambda name, path: os.pathsep.join(filter(None, (str(path), os.environ.get(name))))
        env = {**os.environ, "JUPYTER_PATH": more("JUPYTER_PATH", Path(folder, "jupyter")), "JUPYTER_CONFIG_PATH": more("JUPYTER_CONFIG_PATH", folder)}
        server = subprocess.Popen([sys.executable, "-m", "voila", str(notebook)], env=env)
        print(f"Explorers: {address}   Ctrl-C ends them.", flush=True)
        if has_screen() and not args.no_browser:
            import webbrowser
            webbrowser.open(address)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))     # whoever ends this program ends the server
        try: return server.wait()
        except KeyboardInterrupt: return 0
        finally:
            server.terminate()
            server.wait(20)


if __name__ == "__main__":
    sys.exit(main())
