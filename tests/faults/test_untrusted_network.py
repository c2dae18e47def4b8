"What comes over the network, and what asks us over the network: archives, redirects, and the two servers that we start."
import hashlib, http.client, re, shutil, tarfile
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from browser import asked_for_files, server
from test_download import BODY, MD5, Handler, Server, tar, tiny
from test_download import server as download_server

from resnet_course.download import download, get_dataset, unpack

__all__ = ["Handler", "Server", "download_server"]


def archive(path, *members, mode="w:gz"):
    "A tar of (name, bytes, what is set besides); a size that is set may be a lie."
    with tarfile.open(path, mode) as t:
        for name, data, more in members:
            info = tarfile.TarInfo(name); info.size = len(data)
            for k, v in more.items(): setattr(info, k, v)
            t.fileobj.write(info.tobuf(tarfile.GNU_FORMAT)); t.fileobj.write(data + bytes(-len(data) % 512)); t.offset += 512
    return path


BAD = {
    "up": [("../x", b"x", {})], "up inside": [("a/../../x", b"x", {})], "absolute": [("/tmp/x", b"x", {})], "up on Windows": [("..\\..\\x", b"x", {})] if Path("a\\b").name == "b" else [("../x", b"", {})],
    "symbolic link": [("x", b"", dict(type=tarfile.SYMTYPE, linkname="/etc/passwd"))], "link, then through it": [("d", b"", dict(type=tarfile.SYMTYPE, linkname="..")), ("d/x", b"x", {})],
    "hard link": [("x", b"", dict(type=tarfile.LNKTYPE, linkname="../../settings.ini"))], "pipe": [("x", b"", dict(type=tarfile.FIFOTYPE))], "device": [("x", b"", dict(type=tarfile.CHRTYPE))],
    "100 TB": [("x", b"x", dict(size=10**14))], "a small one, then 100 TB": [("a", b"a", {}), ("x", b"x", dict(size=10**14))], "many": [(f"{i}", b"", {}) for i in range(3000)],
}


def test_archives_that_do_harm(tmp_path):
    for name, members in BAD.items():
        out = tmp_path / "deep" / "out"
        with pytest.raises(ValueError, match="this is not the published archive"): unpack(archive(tmp_path / "bad.tar.gz", *members), out, progress=False, limit=1_000_000)
        assert not [p for p in tmp_path.rglob("x") if p.name == "x"], name
        assert {p.name for p in tmp_path.iterdir()} == {"bad.tar.gz", "deep"}
        shutil.rmtree(tmp_path / "deep")
    with pytest.raises(ValueError, match="far more than it should"): unpack(archive(tmp_path / "free.tar.gz", ("x", b"x", dict(size=10**17))), tmp_path / "out", progress=False)    # without a limit: what is free on the disk
    zeros = archive(tmp_path / "zeros.tar.gz", ("x", bytes(50_000_000), {}))
    assert zeros.stat().st_size < 100_000
    with pytest.raises(ValueError, match="far more than it should"): unpack(zeros, tmp_path / "out", progress=False, limit=1_000_000)
    assert not list((tmp_path / "out").iterdir())


def test_a_published_archive_that_is_absurdly_large(download_server, tmp_path):
    "With the right checksum, too: nothing stays."
    big = tar({"tiny/data.bin": bytes(20_000_000)})
    download_server.files["/tiny.tar.gz"] = big
    dataset = replace(tiny(""), published=lambda: [(f"{download_server.url}/tiny.tar.gz", hashlib.md5(big).hexdigest())])
    with pytest.raises(ValueError, match="far more than it should"): get_dataset(dataset, tmp_path, progress=False)
    assert not (tmp_path / "tiny").exists() and not list(tmp_path.rglob("data.bin"))


def test_redirects_and_a_server_that_is_always_busy(download_server, tmp_path):
    s, url = download_server, f"{download_server.url}/body.bin"
    s.acts = [("redirect", "/body.bin")] * 99                                          # in a circle
    with pytest.raises(OSError, match=r"body.bin: the server answered 302 .*infinite loop.*--from FILE[^\n]*$"): download(url, tmp_path / "a", MD5)
    assert len(s.asked) < 15 and not s.waits
    (tmp_path / "secret").write_bytes(BODY)
    for place in ((tmp_path / "secret").as_uri(), "ftp://127.0.0.1:9/x", "gopher://x"):
        s.acts = [("redirect", place)]
        with pytest.raises(OSError): download(url, tmp_path / "b", MD5)
        assert not (tmp_path / "b").exists()
    for code in (429, 503):
        s.acts, s.waits[:] = [("status", code)] * 99, []
        with pytest.raises(OSError, match=f"answered {code} .* and 5 tries more"): download(url, tmp_path / "c", MD5)
        assert s.waits == [1, 2, 4, 8, 16]
    s.acts = []


def test_our_servers_are_for_this_machine_and_need_a_token(root):
    from explore import settings
    from lab import command
    assert "--ServerApp.ip=127.0.0.1" in command(8888, False) and not any("token" in c or "password" in c for c in command(8888, False))       # JupyterLab makes a token itself
    made = settings("127.0.0.1", 8866, "abc")
    assert made["Voila"]["token"] == "abc" and made["VoilaConfiguration"]["file_allowlist"] == ["nothing"] and made["VoilaConfiguration"]["allow_template_override"] == "NO"
    for name in ("explore.py", "lab.py"): assert "0.0.0.0" not in (root / "tools" / name).read_text(encoding="utf-8")
    assert 'default="127.0.0.1"' in (root / "tools" / "explore.py").read_text(encoding="utf-8") and "secrets.token_hex(24)" in (root / "tools" / "explore.py").read_text(encoding="utf-8")


def listens(port):
    "The addresses at which this machine listens on a port, as Linux lists them; None elsewhere."
    tables = [p for p in map(Path, ("/proc/net/tcp", "/proc/net/tcp6")) if p.exists()]
    rows = [line.split() for p in tables for line in p.read_text(encoding="utf-8").splitlines()[1:]]
    return {r[1].split(":")[0] for r in rows if r[3] == "0A" and int(r[1].split(":")[1], 16) == port} if tables else None


def test_the_servers_themselves(root, full, tmp_path):
    if not full: pytest.skip("starts two servers: make test-faults; test_the_pages asks Voila the same in a browser's test")
    with server([root / "tools" / "explore.py", "--port", "8893", "--no-browser"], r"http://127\.0\.0\.1:8893/\?token=\w+", tmp_path, root) as address:
        asked_for_files(address, root)
        assert listens(8893) in (None, {"0100007F"})
    (tmp_path / "lab").mkdir()
    with server([root / "tools" / "lab.py", "--port", "8894", "--no-browser", "--root", tmp_path / "lab"], r"http://127\.0\.0\.1:\d+/lab\S*token=\w+", tmp_path / "lab", root) as address:
        place = urlsplit(address)
        for path, token, wanted in (("/api/contents", False, (302, 403)), ("/api/kernels", False, (302, 403)), ("/files/server.log", False, (302, 403)), ("/api/contents", True, (200,)), ("/files/../../settings.ini", True, (403, 404))):
            line = http.client.HTTPConnection(place.netloc, timeout=60)
            line.request("GET", path, headers={"Authorization": "token " + re.search(r"token=(\w+)", address)[1]} if token else {})
            assert line.getresponse().status in wanted, (path, token)
        line = http.client.HTTPConnection(place.netloc, timeout=60); line.request("POST", "/api/kernels")
        assert line.getresponse().status == 403
        assert listens(place.port) in (None, {"0100007F"})


def test_continuous_integration_looks_for_known_vulnerabilities(root):
    jobs = yaml.safe_load((root / ".github/workflows/test.yml").read_text(encoding="utf-8"))["jobs"]
    steps = [s.get("run", "") for job in jobs.values() for s in job["steps"]]
    assert any("pip-audit" in s and "requirements.lock" in s and "--strict" in s for s in steps)
