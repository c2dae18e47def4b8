"""Downloads over a line that fails: a real server that misbehaves as told, and real processes, really killed."""
import gzip, hashlib, io, os, pickle, signal, socket, struct, subprocess, sys, tarfile, threading, time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import resnet_course.download as dl
from resnet_course.download import DATASETS, Dataset, download, get_dataset

BODY = bytes(hashlib.shake_128(b"body").digest(1_500_000))
MD5 = hashlib.md5(BODY).hexdigest()


def tar(files):
    "A .tar.gz of {name: bytes}, as bytes."
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as t:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            t.addfile(info, io.BytesIO(data))
    return gzip.compress(out.getvalue(), mtime=0)                      # the same bytes in every process


ARCHIVE = tar({"tiny/data.bin": BODY})


def count(root):
    "Its length for pictures; with HANG set, a process that stops between unpacking and the rename."
    n = len((root / "tiny" / "data.bin").read_bytes())
    if os.environ.get("HANG"): time.sleep(600)
    return n


def tiny(url):
    "A dataset of one file, published at `url`."
    return Dataset("tiny", "Tiny", "nobody", len(BODY), {"tiny.tar.gz": len(ARCHIVE)}, len(BODY), 0, ".", "tiny", lambda: [(url, hashlib.md5(ARCHIVE).hexdigest())], count)


class Handler(BaseHTTPRequestHandler):
    "Serves `server.files`; each request takes the next of `server.acts`: (what, number)"

    def do_GET(self):
        s = self.server
        body, (act, n) = s.files[self.path], s.acts.pop(0) if s.acts else ("all", None)
        start = int(self.headers["Range"][6:-1]) if s.ranges and self.headers["Range"] else 0
        if start and self.headers["If-Range"] not in (None, *s.marks.values()): start = 0
        s.asked.append(start)
        s.if_ranges.append(self.headers["If-Range"])
        if act == "status": return self.send_error(n)
        if act == "redirect":
            self.send_response(302)
            self.send_header("Location", n)
            return self.end_headers()
        if start >= len(body): return self.send_error(416)
        self.send_response(206 if start else 200)
        if start: self.send_header("Content-Range", f"bytes {start + (n if act == 'shift' else 0)}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", len(body) - start + (n if act == "longer" else 0))
        for k, v in s.marks.items(): self.send_header(k, v)
        self.end_headers()
        self.wfile.write(body[start:start + n] if act in ("cut", "reset", "stall", "hold") else body[start:])
        if act in ("stall", "hold"): s.go_on.wait(600)
        if act == "hold": self.wfile.write(body[start + n:])
        if act == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.rfile.close()
            self.connection.close()

    def log_message(self, *args): pass


class Server(ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False

    def handle_error(self, *args): pass  # clients that were killed


@pytest.fixture
def server(monkeypatch):
    "A server of BODY at /body.bin and ARCHIVE at /tiny.tar.gz; the client notes its waits and does not wait."
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    waits = []
    monkeypatch.setattr(dl.time, "sleep", waits.append)
    s = Server(("127.0.0.1", 0), Handler)
    s.files, s.marks, s.ranges = {"/body.bin": BODY, "/tiny.tar.gz": ARCHIVE}, {"ETag": '"1"'}, True
    s.acts, s.asked, s.if_ranges, s.go_on, s.waits = [], [], [], threading.Event(), waits
    s.url = f"http://127.0.0.1:{s.server_port}"
    thread = threading.Thread(target=s.serve_forever, kwargs=dict(poll_interval=0.02))
    thread.start()
    yield s
    s.go_on.set()
    s.shutdown()
    s.server_close()
    thread.join()


def child(server, root, **env):
    "`get_dataset` in a process of its own"
    return subprocess.Popen([sys.executable, __file__, f"{server.url}/tiny.tar.gz", str(root)], env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(condition, process, seconds=300):
    end, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "nothing happened in time"
        pause.wait(0.01)


def part(root): return root / "downloads" / "tiny" / "tiny.tar.gz.part"


def length(path): return path.stat().st_size if path.is_file() else 0


def test_five_interruptions_of_which_one_is_a_kill(server, tmp_path, monkeypatch):
    monkeypatch.setattr(dl, "SILENCE", 1)
    step = len(ARCHIVE) // 6
    server.acts = [("stall", step), ("cut", step), ("reset", step), ("stall", step), ("cut", step)]
    process = child(server, tmp_path)
    wait_for(lambda: length(part(tmp_path)) > step - 10_000, process)  # the last bytes may wait in a buffer
    process.kill()
    process.communicate()
    target = get_dataset(tiny(f"{server.url}/tiny.tar.gz"), tmp_path)
    assert (target / "data.bin").read_bytes() == BODY and not part(tmp_path).parent.exists()
    assert len(server.asked) == 6 and server.asked == sorted(server.asked) and server.asked[1] > 0  # it always went on, and never began again
    assert server.if_ranges == [None] + ['"1"'] * 5 and server.waits == [1] * 4                     # progress makes patience new


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(server, tmp_path):
    server.acts = [("stall", 500_000)]
    process = child(server, tmp_path)
    wait_for(lambda: length(part(tmp_path)) > 490_000, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1 and err.endswith(f"stopped; 500,000 bytes are kept in {part(tmp_path).parent}, the same command goes on from there\n") and "Traceback" not in err
    get_dataset(tiny(f"{server.url}/tiny.tar.gz"), tmp_path)
    assert server.asked == [0, 500_000]


def test_kill_between_unpacking_and_the_rename_leaves_nothing_that_looks_complete(server, tmp_path):
    process = child(server, tmp_path, HANG="1")
    wait_for((part(tmp_path).parent / "unpacked" / "tiny" / "data.bin").is_file, process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "tiny").exists()
    get_dataset(tiny(f"{server.url}/tiny.tar.gz"), tmp_path)
    assert (tmp_path / "tiny" / "data.bin").read_bytes() == BODY and server.asked == [0]           # the archive was whole


def test_two_processes_at_once(server, tmp_path):
    server.acts = [("hold", 500_000)]
    first = child(server, tmp_path)
    wait_for(lambda: server.asked, first)
    second = child(server, tmp_path)
    for line in second.stderr:
        if "another process is fetching Tiny; waiting for it" in line: break
    server.go_on.set()
    assert first.wait(300) == second.wait(300) == 0
    assert (tmp_path / "tiny" / "data.bin").read_bytes() == BODY and server.asked == [0]
    for p in (first, second): p.communicate()


def test_server_that_ignores_range(server, tmp_path):
    server.ranges, server.acts = False, [("cut", 500_000)]
    assert download(f"{server.url}/body.bin", tmp_path / "a", MD5).read_bytes() == BODY
    server.acts = [("cut", 500_000)] * 99                              # never further than that: an end, and no loop
    with pytest.raises(OSError, match="the connection ended at 500,000 bytes of 2 MB, and 5 tries more; 500,000 bytes are kept"): download(f"{server.url}/body.bin", tmp_path / "b", MD5)
    assert server.waits == [1, 1, 2, 4, 8, 16] and len(server.acts) == 99 - 6


@pytest.mark.parametrize("before, after", [({"ETag": '"1"'}, {"ETag": '"2"'}), ({"ETag": 'W/"1"', "Last-Modified": "Mon"}, {"ETag": 'W/"1"', "Last-Modified": "Tue"}), ({}, {})])
def test_file_that_changes_between_two_attempts(server, tmp_path, monkeypatch, before, after):
    server.marks, server.acts, server.files["/body.bin"] = before, [("cut", 500_000)], bytes(len(BODY))
    url = f"{server.url}/body.bin"

    def wait(seconds): server.marks, server.files["/body.bin"] = after, BODY

    monkeypatch.setattr(dl.time, "sleep", wait)
    assert download(url, tmp_path / "a", MD5).read_bytes() == BODY
    if before: assert server.if_ranges == [None, before["ETag"] if before["ETag"] == '"1"' else "Mon"] and server.asked == [0, 0]
    else: assert server.asked == [0, 500_000, 0]                       # no mark: the checksum told, and it began anew, once


def test_part_from_one_server_goes_on_at_another(server, tmp_path):
    server.acts = [("cut", 500_000), ("status", 404)]
    with pytest.raises(OSError, match="404 Not Found"): download(f"{server.url}/body.bin", tmp_path / "a", MD5)
    server.files["/mirror/body.bin"], server.marks = BODY, {"ETag": '"mirror"'}
    assert download(f"{server.url}/mirror/body.bin", tmp_path / "a", MD5).read_bytes() == BODY
    assert server.asked == [0, 500_000, 500_000] and server.if_ranges[-1] is None


def test_wrong_lengths_and_ranges(server, tmp_path):
    server.acts = [("longer", 100)]                                    # all came, though more was promised: 416 says so
    assert download(f"{server.url}/body.bin", tmp_path / "a", MD5).read_bytes() == BODY and server.asked == [0, len(BODY)]
    (tmp_path / "b.part").write_bytes(BODY + b"too long")              # 416, but not the file
    assert download(f"{server.url}/body.bin", tmp_path / "b", MD5).read_bytes() == BODY
    server.acts = [("cut", 500_000), ("shift", 10)]                    # another piece than was asked for
    assert download(f"{server.url}/body.bin", tmp_path / "c", MD5).read_bytes() == BODY and server.asked[-3:] == [0, 500_000, 0]


def test_status_codes(server, tmp_path):
    url = f"{server.url}/body.bin"
    server.acts = [("status", 404)]
    with pytest.raises(OSError, match=f"{url}: the server answered 404 Not Found; .*--from FILE"): download(url, tmp_path / "a", MD5)
    assert len(server.asked) == 1 and not server.waits                 # no use in trying again
    server.acts = [("status", 500), ("status", 503), ("status", 429), ("redirect", "/body.bin")]
    assert download(url, tmp_path / "a", MD5).read_bytes() == BODY and server.waits == [1, 2, 4]
    server.files["/body.bin"] = b"not found, sorry"                    # as an answer of 200
    with pytest.raises(OSError, match="16 bytes came with the MD5 sum .* not the published file; deleted"): download(url, tmp_path / "b", MD5)
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and len(server.asked) == 7    # whole and wrong: not asked for twice


def test_log_in_page_of_a_network_costs_nothing_that_has_come(server, tmp_path):
    url = f"{server.url}/body.bin"
    server.acts, server.marks = [("cut", 500_000), ("status", 404)], {}
    with pytest.raises(OSError, match="404"): download(url, tmp_path / "a", MD5)
    server.files["/body.bin"], server.marks, server.ranges = b"<html>Please log in", {"Content-Type": "text/html; charset=utf-8"}, False
    with pytest.raises(OSError, match="a web page came, not the file"): download(url, tmp_path / "a", MD5)
    server.files["/body.bin"], server.marks, server.ranges = BODY, {}, True
    assert download(url, tmp_path / "a", MD5).read_bytes() == BODY and server.asked[-1] == 500_000


def test_offline_is_noticed_within_seconds(server, tmp_path, monkeypatch):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{s.getsockname()[1]}/tiny.tar.gz"
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(ARCHIVE[:500_000])
    began = time.monotonic()
    with pytest.raises(ConnectionError, match=r"^127.0.0.1 cannot be reached \(.*refused.*\): is this machine online\? .*--from FILE[^\n]*$"): get_dataset(tiny(closed), tmp_path)
    assert time.monotonic() - began < 5 and not server.waits
    limits = []

    def silent(address, timeout, *rest):                               # a network that swallows every packet
        limits.append(timeout)
        raise TimeoutError("timed out")

    with monkeypatch.context() as m:
        m.setattr(socket, "create_connection", silent)
        for scheme in ("http", "https"):
            with pytest.raises(ConnectionError, match="host.test cannot be reached .timed out."): get_dataset(tiny(f"{scheme}://host.test/tiny.tar.gz"), tmp_path)
    assert limits == [dl.CONNECT] * 2 and dl.CONNECT <= 5 and not server.waits
    get_dataset(tiny(f"{server.url}/tiny.tar.gz"), tmp_path)
    assert server.asked == [500_000]                                   # what was there was kept


def cifar_files(n=5):
    "The files of cifar-10-batches-py with n pictures each: {name: bytes}, and the pictures and labels in order."
    import numpy as np
    files, x, y = {}, [], []
    for k, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        x.append(np.random.default_rng(k).integers(0, 256, (n, 3072), dtype=np.uint8))
        y.append([(k + i) % 10 for i in range(n)])
        files[f"cifar-10-batches-py/{name}"] = pickle.dumps(dict(data=x[-1], labels=y[-1]))
    files["cifar-10-batches-py/batches.meta"] = pickle.dumps(dict(label_names=["x"] * 10))
    return files, np.concatenate(x[:5]), sum(y[:5], [])


def test_cifar10_in_its_real_format(server, tmp_path, monkeypatch):
    from resnet_course.store import load_cifar10
    from torchvision.datasets import CIFAR10
    files, x, y = cifar_files()
    md5 = {name.split("/")[1]: hashlib.md5(data).hexdigest() for name, data in files.items()}
    monkeypatch.setattr(CIFAR10, "train_list", [[f, md5[f]] for f, _ in CIFAR10.train_list])
    monkeypatch.setattr(CIFAR10, "test_list", [[f, md5[f]] for f, _ in CIFAR10.test_list])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})
    server.files["/mirror/cifar-10-python.tar.gz"] = tar(files)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(server.files["/mirror/cifar-10-python.tar.gz"]).hexdigest())
    small = replace(DATASETS["cifar10"], images=30)
    target = get_dataset(small, tmp_path, url=f"{server.url}/mirror")
    store = load_cifar10(tmp_path)
    assert target == tmp_path / "cifar10.safetensors" and store.train_images.flatten(1).numpy().tolist() == x.tolist() and store.train_labels.tolist() == y
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cifar10.safetensors", "downloads"] and [p.name for p in (tmp_path / "downloads").iterdir()] == ["cifar10.lock"]

    other = tmp_path / "other"                                         # what torchvision has unpacked is used, nothing is asked for
    other.mkdir()
    (other / "a.tar.gz").write_bytes(server.files["/mirror/cifar-10-python.tar.gz"])
    dl.unpack(other / "a.tar.gz", other)
    assert get_dataset(small, other, url="http://127.0.0.1:9").is_file() and len(server.asked) == 1
    with pytest.raises(ValueError, match="30 pictures, CIFAR-10 has 60,000; move it elsewhere"): get_dataset("cifar10", tmp_path)
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(ARCHIVE).hexdigest())
    (tmp_path / "wrong.tgz").write_bytes(ARCHIVE)
    with pytest.raises(ValueError, match="there is no CIFAR-10 in it"): get_dataset("cifar10", tmp_path / "third", file=tmp_path / "wrong.tgz")


if __name__ == "__main__":
    dl.SILENCE = 600                                                   # a busy machine may start the next process late
    signal.signal(signal.SIGINT, signal.default_int_handler)           # a shell's background jobs ignore Ctrl-C, and so do their children
    try: get_dataset(tiny(sys.argv[1]), sys.argv[2])
    except KeyboardInterrupt as e: sys.exit(str(e))
    assert "torch" not in sys.modules                                    # fetching waits for nothing that it does not need
