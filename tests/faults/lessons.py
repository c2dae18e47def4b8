"""Run lessons in this one process, as a program: `python lessons.py NOTEBOOK ...`; what became of them is the last line, in JSON.

Each notebook has a namespace of its own and all its cells run twice in it; the second time, the cell that took longest (imports
apart) is first interrupted half-way, by a real SIGINT as Jupyter's stop button sends, and then run again. Connections beyond this machine fail at
once. Before the second time, RESNET_COURSE_DATA becomes what LESSONS_DATA names, so that both are seen in one go.
"""
import json, os, re, signal, socket, sys, threading, time
from pathlib import Path

from execnb.nbio import read_nb
from execnb.shell import CaptureShell

IMPORTS = re.compile(r"^\s*(import|from) ", re.M)  # done once, so they take no time later
SKIP = re.compile(r"^#\s*\|\s*(slow|gpu|net)\b", re.M)
tried = []  # to connect beyond this machine


def offline():
    "As without a network: only this machine can be reached, and no other name is known."
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def local_connect(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost", "0.0.0.0"):
            tried.append(str(address))
            raise OSError(101, "Network is unreachable")
        return connect(self, address)

    def local_look_up(host, *args, **kw):
        if host not in (None, "", "127.0.0.1", "::1", "localhost", "0.0.0.0", socket.gethostname()):
            tried.append(str(host))
            raise socket.gaierror(-3, "Temporary failure in name resolution")
        return look_up(host, *args, **kw)

    socket.socket.connect, socket.getaddrinfo = local_connect, local_look_up


def interrupted(shell, source, seconds):
    "Run a cell and stop it after so many seconds, sooner where it was done by then; True if it was stopped."
    for share in (1, 1 / 4, 1 / 16, 1 / 64):
        hit = []
        def stop(hit=hit): hit.append(1); signal.raise_signal(signal.SIGINT) if os.name == "nt" else os.kill(os.getpid(), signal.SIGINT)
        timer = threading.Timer(seconds * share, stop)
        try:
            timer.start()
            shell.run(source)
            timer.cancel(); timer.join()
        except KeyboardInterrupt: pass  # it came a moment too late, between cells
        if hit: return True
    return False


def run(path, data):
    "All cells of a notebook twice in one namespace; what happened."
    shell, taken, found = CaptureShell(path), {}, dict(lesson=Path(path).stem, error=None, interrupted=None)
    cells = [c for c in read_nb(path).cells if c.cell_type == "code" and not SKIP.search(c.source)]
    for time_of in (1, 2):
        if time_of == 2:
            if data: os.environ["RESNET_COURSE_DATA"] = data
            longest = max((c.id for c in cells if not IMPORTS.search(c.source)), key=taken.get)
        start = time.process_time()
        for c in cells:
            if time_of == 2 and c.id == longest: found["interrupted"] = interrupted(shell, c.source, taken[c.id] / 2)
            begun = time.time()
            shell.run(c.source)
            taken[c.id] = time.time() - begun
            if shell.exc is not None: return {**found, "error": f"time {time_of}, cell {c.id}: {type(shell.exc).__name__}: {shell.exc}"}
        found["cpu"] = round(found.get("cpu", 0) + time.process_time() - start, 1)
    return found


def refused():
    "Whether no file can be made in the current folder."
    try: Path("x").touch()
    except OSError: return True
    Path("x").unlink()
    return False


if __name__ == "__main__":
    offline()
    before, results = os.environ.get("RESNET_COURSE_DATA"), []
    for path in map(Path, sys.argv[1:]):
        if before is not None: os.environ["RESNET_COURSE_DATA"] = before
        results.append(run(path, os.environ.get("LESSONS_DATA")))
        print(results[-1], file=sys.stderr, flush=True)
    print(json.dumps(dict(results=results, tried=tried, refused=refused())))
