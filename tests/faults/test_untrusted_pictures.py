"""Pictures from anybody: some 300 odd or damaged files, through the reader of single pictures, of folders and of the explorers.

What must become of each is the table "Pictures of any kind" in nbs/lib/store.ipynb. Nothing may be written, and no program started.
"""
import contextlib, io, os, random, shutil, struct, subprocess, sys, tempfile, threading, time, tracemalloc, warnings, zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

import resnet_course.store as store
from resnet_course.data import LoaderConfig, create_folder_loaders
from resnet_course.explorers import read_upload
from resnet_course.predict import decode_photo
from resnet_course.store import decode_square

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
READ, REFUSED, EITHER = "read", "refused", "either"


def noise(mode="RGB", size=(40, 30), seed=0):
    "A picture of a mode, different in every place."
    rng = np.random.default_rng(seed)
    if mode in ("I;16", "I", "F"): return Image.fromarray(rng.integers(0, 65536, size[::-1]).astype({"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]))
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8)).convert("RGBA" if mode in ("RGBA", "LA", "PA") else "RGB").convert(mode)


def file(im, form, **how):
    im.save(out := io.BytesIO(), form, **how)
    return out.getvalue()


def png(width, height, pixels=b"", depth=8, kind=2):
    "A PNG that claims a size, with whatever pixels."
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def odd_kinds():
    "Whole pictures of odd kinds: {name: (bytes, what must become of it)}."
    out, rgb = {}, noise()
    for form, ends, modes in (("PNG", "png", "1 L P RGB RGBA LA I;16"), ("JPEG", "jpg", "L RGB CMYK YCbCr"), ("GIF", "gif", "L P RGB RGBA 1"), ("BMP", "bmp", "1 L P RGB RGBA"), ("WEBP", "webp", "RGB RGBA L"), ("TIFF", "tif", "1 L P RGB RGBA CMYK I;16 I YCbCr LA")):
        for mode in modes.split():
            for size in ((40, 30), (1, 1)): out[f"{mode} {size[0]}.{ends}"] = file(noise(mode, size), form), READ
            out[f"{form} {mode} inside.jpg"] = file(noise(mode), form), READ
    for form, ends in (("PNG", "png"), ("BMP", "bmp"), ("TIFF", "tif"), ("JPEG", "jpg"), ("GIF", "gif")):
        for size in ((30_000, 1), (1, 30_000), (3, 2)): out[f"{size[0]} by {size[1]}.{ends}"] = file(noise(size=size), form), READ
    for turn in (*range(10), 65_535):
        exif = Image.Exif(); exif[0x0112] = turn
        out[f"turned {turn}.jpg"], out[f"turned {turn}.png"] = (file(rgb, "JPEG", exif=exif), READ), (file(rgb, "PNG", exif=exif), READ)
    for k, exif in enumerate((b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0" + bytes(range(200)), b"x" * 60_000)): out[f"exif {k}.jpg"] = file(rgb, "JPEG", exif=exif), EITHER
    more = [noise(seed=k) for k in (1, 2)]
    for form, ends in (("GIF", "gif"), ("PNG", "png"), ("WEBP", "webp"), ("TIFF", "tif")): out[f"moving.{ends}"] = file(rgb, form, save_all=True, append_images=more), READ
    out["two views.jpg"] = file(rgb, "MPO", save_all=True, append_images=more), READ
    for k, how in enumerate((dict(progressive=True), dict(quality=1), dict(quality=100, subsampling=0), dict(comment=b"x" * 60_000), dict(dpi=(0, 0)))): out[f"jpeg {k}.jpg"] = file(rgb, "JPEG", **how), READ
    for name in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg"): out[f"{name}.tif"] = file(rgb, "TIFF", compression=name), READ
    for mode, t in (("L", 3), ("RGB", (1, 2, 3)), ("P", 0), ("P", bytes(range(256)))): out[f"clear {mode} {type(t).__name__}.png"] = file(noise(mode), "PNG", transparency=t), READ
    out["float.tif"] = file(noise("F"), "TIFF"), REFUSED
    return out


def no_pictures():
    "Files that are none, or that claim too much."
    out, rgb = {"empty.jpg": (b"", REFUSED)}, noise()
    for k, data in enumerate((b"\0", b"\xff", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"GIF89a", b"BM", b"RIFF\0\0\0\0WEBP", b"II*\0", b"MM\0*\0\0\0\x08", b"\x89PNG\r\n\x1a\n", bytes(1000), b"\xff" * 1000, random.Random(0).randbytes(5000), "Dear Sir or Madam é".encode(), b"<html><script>alert(1)</script>",
                              b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'><rect/></svg>", b"%PDF-1.7\n", b"PK\x03\x04" + bytes(50), b"#!/bin/sh\necho\n", b"\x7fELF" + bytes(60), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n", b"P6\n9 9\n255\n" + bytes(243))):
        for ends in ("jpg", "png"): out[f"none {k}.{ends}"] = data, REFUSED
    for form in ("EPS", "PPM", "PCX", "TGA", "ICO", "JPEG2000", "DDS", "SGI", "IM"):
        with contextlib.suppress(OSError, KeyError): out[f"{form} inside.jpg"] = file(rgb, form), REFUSED     # a Pillow built without it
    out |= {f"claims {w} by {h}.png": (png(w, h), REFUSED) for w, h in ((20_000, 20_000), (2**31 - 1, 2**31 - 1), (0, 5), (5, 0), (100_000, 5000), (9, 9))}
    out["16 bits, 400 million.png"] = png(20_000, 20_000, depth=16, kind=0), REFUSED
    out["bomb.png"] = file(Image.new("1", (20_000, 10_000)), "PNG"), REFUSED
    jpeg, gif, bmp = (bytearray(file(rgb, f)) for f in ("JPEG", "GIF", "BMP"))
    at = jpeg.index(b"\xff\xc0"); jpeg[at + 5:at + 9] = b"\xff\xff" * 2; gif[6:10] = b"\xff\xff" * 2; bmp[18:26] = struct.pack("<ii", 100_000, 100_000)
    out |= {"claims 65535.jpg": (bytes(jpeg), REFUSED), "claims 65535.gif": (bytes(gif), REFUSED), "claims 100000.bmp": (bytes(bmp), REFUSED)}
    bmp[18:26] = struct.pack("<ii", -5, -5); out["negative.bmp"] = bytes(bmp), REFUSED
    words = PngImagePlugin.PngInfo(); words.add_text("x", "y" * 20_000_000, zip=True); out["20 MB of words.png"] = file(rgb, "PNG", pnginfo=words), REFUSED
    return out


def damaged(n, seed=21):
    "Pictures that are cut off, or in which bytes are wrong."
    rng, out = random.Random(seed), {}
    for ends, whole in dict(jpg=file(noise(size=(90, 70)), "JPEG"), prog=file(noise(size=(90, 70)), "JPEG", progressive=True), png=file(noise(), "PNG"), gif=file(noise("P"), "GIF"), bmp=file(noise(), "BMP"), webp=file(noise(), "WEBP"), tif=file(noise(), "TIFF", compression="tiff_lzw")).items():
        for k in range(n):
            cut = whole[:len(whole) * k // n]
            spoilt = bytearray(whole)
            for _ in range(rng.randint(1, 20)): spoilt[rng.randrange(len(spoilt) if k % 2 else min(len(spoilt), 200))] = rng.randrange(256)
            name = ends.replace("prog", "jpg")
            out |= {f"{ends} cut {k}.{name}": (cut, EITHER), f"{ends} spoilt {k}.{name}": (bytes(spoilt), EITHER)}
    return out


@pytest.fixture(scope="module")
def files(full):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {**odd_kinds(), **no_pictures(), **damaged(20 if full else 4)}


@pytest.fixture
def nothing_else(tmp_path, monkeypatch):
    "A folder to work in; afterwards only what the test wrote may lie in it, in the temporary folder and in the current one, and no program was started."
    for name in ("files", "tmp", "here"): (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    started = []
    for module, names in ((subprocess, ("Popen", "call", "check_call", "run")), (os, ("system", "popen", "startfile"))):
        for name in names: monkeypatch.setattr(module, name, lambda *a, **k: started.append(a), raising=False)
    yield tmp_path / "files"
    assert not started and not list((tmp_path / "tmp").iterdir()) and not list((tmp_path / "here").iterdir())


def tree(folder): return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) for p in folder.rglob("*")}


def test_odd_pictures_one_by_one(files, nothing_else, capsys):
    count = {(how, k): 0 for how in ("file", "upload", "predict") for k in (READ, REFUSED)}
    for name, (data, expected) in files.items():
        path = nothing_else / name; path.write_bytes(data); before = tree(nothing_else)
        for how, ask in (("file", lambda p=path: decode_square(p, 32)[0]), ("predict", lambda p=path: decode_photo(p, 32)[0]), ("upload", lambda n=name, d=data: read_upload(n, d, 32)[0].numpy())):
            try: x = ask()
            except (OSError, ValueError) as e:
                assert (how == "predict" or name[:60] in str(e)) and "\n" not in str(e) and len(str(e)) < 500, (how, name, e)
                assert type(e) is (OSError if how == "file" else ValueError) and expected != READ, (how, name, e)
                count[how, REFUSED] += 1
            else:
                assert x.shape == (3, 32, 32) and x.dtype == np.uint8 and expected != REFUSED, (how, name)
                count[how, READ] += 1
        assert tree(nothing_else) == before
        path.unlink()
    assert count["file", READ] == count["upload", READ] == count["predict", READ] and min(count.values()) > 60
    with capsys.disabled(): print(f"\n{len(files)} odd pictures, seeds 0 and 21: {count['file', READ]} read, {count['file', REFUSED]} refused; by uploads and by predict the same")


def class_folders(folder, n=3):
    for c in "ab":
        (folder / c).mkdir(parents=True)
        for k in range(n): noise(seed=ord(c) + k).save(folder / c / f"{k}.png")
    return folder


def load(folder): return create_folder_loaders(LoaderConfig(folder=str(folder), image_size=16, batch_size=2, val_fraction=0, device="cpu", in_memory=True))


def test_a_folder_with_one_odd_picture(files, full, nothing_else, capsys):
    "It loads; a file that cannot be read is left out and named."
    folder, left = class_folders(nothing_else / "photos"), 0
    names = [n for n in files if full or files[n][1] != EITHER][::1 if full else 4]
    for i, name in enumerate(names):
        data, expected = files[name]; path = folder / "a" / name; path.write_bytes(data); before = tree(folder)
        loaders = create_folder_loaders(LoaderConfig(folder=str(folder), image_size=16, batch_size=2, val_fraction=0, device="cpu", in_memory=bool(i % 2), num_workers=0 if not i % 2 else None))
        said = [text for _, level, text in loaders.store.notes if level == "warning"]; n = len(loaders.store.train_labels) + len(loaders.store.test_labels)
        assert (n, bool(said)) in {READ: [(7, False)], REFUSED: [(6, True)], EITHER: [(7, False), (6, True)]}[expected], (name, said)
        if said: left += 1; assert name in said[0] and "unreadable, left out" in said[0] and "\n" not in said[0]
        x, y = loaders.train.batch(0, 0)
        assert x.shape == (2, 3, 16, 16) and torch.isfinite(x).all() and tree(folder) == before
        path.unlink()
    with capsys.disabled(): print(f"\n{len(names)} folders with one odd picture: all load, {left} without it")


def test_a_folder_of_odd_things(files, nothing_else):
    "Folders, links and pipes that are called pictures are passed over; with too many unreadable files the folder is refused."
    folder = class_folders(nothing_else / "photos", 4)
    (folder / "a" / "folder.jpg").mkdir(); (folder / "b" / "notes.txt").write_text("x"); (folder / "a" / "UPPER.PNG").write_bytes((folder / "a" / "0.png").read_bytes())
    if os.name != "nt":
        (folder / "a" / "nowhere.jpg").symlink_to(folder / "none.jpg"); (folder / "a" / "round.jpg").symlink_to(folder / "a" / "round.jpg"); (folder / "a" / "loop").symlink_to(folder / "a"); os.mkfifo(folder / "b" / "pipe.jpg")
    ask = lambda: load(folder).store
    found = ask()
    assert len(found.train_labels) + len(found.test_labels) == 9 and [text for *_, text in found.notes] == ["no picture by its ending, ignored: 1 (notes.txt)"]
    (folder / "c").mkdir()
    with pytest.raises(ValueError, match="c: no pictures in it"): ask()
    for name, (data, expected) in files.items():
        if expected == REFUSED: (folder / "c" / name).write_bytes(data)
    with pytest.raises(ValueError, match=r"photos: \d+ of \d+ pictures are unreadable, the first c/.*: unreadable, left out \(.*\); replace or remove them"): ask()


def test_an_endless_link_is_not_read(tmp_path):
    if not Path("/dev/zero").exists(): pytest.skip("there is no /dev/zero on this system")
    folder = class_folders(tmp_path)
    (folder / "a" / "zero.jpg").symlink_to("/dev/zero")
    assert len(load(folder).store.train_labels) == 5


@contextlib.contextmanager
def highest():
    "The most memory that was resident above what there was before, in MiB: a list with one number."
    page, peak, done = os.sysconf("SC_PAGE_SIZE") / 2**20, [0.0], threading.Event()
    now = lambda: int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]) * page
    start = now()
    def watch():
        while not done.is_set(): peak[0] = max(peak[0], now() - start); time.sleep(0.002)
    (thread := threading.Thread(target=watch)).start()
    try: yield peak
    finally: done.set(); thread.join()


def test_huge_pictures_are_decoded_one_at_a_time(tmp_path, monkeypatch):
    "Several threads read a folder; only one of them may hold a huge picture."
    folder, inside, most, guard, real = class_folders(tmp_path, 8), 0, 0, threading.Lock(), store._to_rgb

    def slowly(im):
        nonlocal inside, most
        with guard: inside += 1; most = max(most, inside)
        time.sleep(0.01)
        with guard: inside -= 1
        return real(im)

    monkeypatch.setattr(store, "_to_rgb", slowly)
    load(folder); assert most > 1                                                     # of ordinary ones
    monkeypatch.setattr(store, "LARGE", 1000); most = 0
    load(folder); assert most == 1


def test_a_long_tail_is_not_read_into_memory(tmp_path):
    with open(class_folders(tmp_path, 2) / "a" / "0.png", "rb+") as f: f.truncate(2**26)
    tracemalloc.start()
    try: load(tmp_path); assert tracemalloc.get_traced_memory()[1] < 2**24
    finally: tracemalloc.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc how much memory is used")
def test_memory_stays_bounded(full, tmp_path, capsys):
    "A folder of the largest pictures that are taken needs the memory of one: a byte a pixel as it is stored, four in RGB; twice that with 16 bits."
    if not full: pytest.skip("needs 2 GB for a moment: make test-faults")
    side, found = 13_000, {}
    for name, n, dtype in (("one", 1, np.uint8), ("six", 6, np.uint8), ("16 bits", 1, np.uint16)):
        folder = class_folders(tmp_path / name, 2)
        for k in range(n): Image.fromarray(np.zeros((side - k, side), dtype)).save(folder / "a" / f"huge{k}.png", compress_level=1)
        with highest() as peak: load(folder)
        found[name] = round(peak[0]); shutil.rmtree(folder)
    with capsys.disabled(): print(f"\n{side**2 / 1e6:.0f} million pixels, MiB above what there was: {found}")
    assert found["one"] < 7 * side**2 / 2**20 + 100 and found["six"] < 7 * side**2 / 2**20 + 700 and found["16 bits"] < 14 * side**2 / 2**20 + 200
