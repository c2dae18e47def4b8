"""Files from a stranger: weights, checkpoints, stores, predictions, surfaces and records that hold a program, or nonsense.

A pickle can run any program when it is read. `Program` leaves a file behind when it runs: `proven` first shows that it does where
a pickle is read carelessly, then every reader of the package is given every such file, and nothing may be left behind.
"""
import ast, base64, io, json, os, pickle, random, warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from resnet_course.checkpoint import load_checkpoint, save_checkpoint
from resnet_course.data import LoaderConfig, create_embedded_loaders
from resnet_course.doctor import _cifar10
from resnet_course.evaluation import load_predictions
from resnet_course.experiment import ModelConfig, make_network, read_maps, read_predictions, read_record
from resnet_course.landscape import Surface, load_surface, loss_surface
from resnet_course.predict import decode_photo
from resnet_course.records import History, load_model, round_weights
from resnet_course.resnet import create_model
from resnet_course.store import load_cifar10, load_folder, load_pets, load_store
from resnet_course.training import TrainingConfig, TrainState
from resnet_course.transfer import body_digest, load_body

REFUSED = (ValueError, OSError)       # ConfigError and CheckpointError are ValueErrors


class Program:
    "Runs when it is unpickled."
    def __init__(self, mark, how): self.mark, self.how = mark, how
    def __reduce__(self):
        return dict(touch=(Path.touch, (Path(self.mark),)), system=(os.system, (f"echo > '{self.mark}'",)), exec=(exec, (f"open({str(self.mark)!r}, 'w').close()",)))[self.how]


def small(): return create_model("resnet20", widths=(2, 2, 2))


@pytest.fixture(scope="module")
def loaders(): return create_embedded_loaders(LoaderConfig(device="cpu", image_size=16, batch_size=16, limit=32, eval_limit=10))


@pytest.fixture
def state(loaders): return lambda: TrainState(small(), TrainingConfig(epochs=1, lr=0.1), loaders)


PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOICnADAAH4APFuR1Z4AAAAAElFTkSuQmCC")     # one pixel


def saved(value, **how):
    torch.save(value, file := io.BytesIO(), **how)
    return file.getvalue()


def numpy_file(save, *args, **arrays):
    save(file := io.BytesIO(), *args, **arrays)
    return file.getvalue()


def programs(mark, whole):
    "{name: bytes} of files that run a program where they are read carelessly; `whole` is what a right checkpoint holds."
    out = {}
    for how in ("touch", "system", "exec"):
        bad = Program(mark, how); box = np.array([bad], dtype=object)
        out |= {f"pickle {how} {protocol}": pickle.dumps(bad, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)}
        out |= {f"torch {how}": saved({"conv1.weight": bad}), f"torch {how}, old format": saved({"conv1.weight": bad}, _use_new_zipfile_serialization=False),
                f"checkpoint {how}, history": saved({**whole, "history": [bad]}), f"checkpoint {how}, model": saved({**whole, "model": {**whole["model"], "fc.bias": bad}}),
                f"npy {how}": numpy_file(np.save, box), f"npz {how}": numpy_file(np.savez, steps=box, loss=box, error=box, key=box)}
    return out


def careless(data):
    "Read as nobody should."
    file = io.BytesIO(data)
    for read in (lambda: torch.load(file, weights_only=False), lambda: pickle.load(file), lambda: np.load(file, allow_pickle=True)["steps"]):
        file.seek(0)
        try: read()
        except Exception: pass


def place(data, *paths):
    for p in paths: p.parent.mkdir(parents=True, exist_ok=True); p.write_bytes(data)
    return paths[0]


def readers(folder, state):
    "{name: function of the file's bytes}: all that read a file of numbers."
    at = lambda name: folder / name
    def pets(data):
        "The cache of decoded pictures may always be made again, from the pictures."
        for name in ("trainval.txt", "test.txt"): place(b"a_0 1 1 1\n", at(f"oxford-iiit-pet/annotations/{name}"))
        place(PNG, at("oxford-iiit-pet/images/a_0.jpg")); place(data, at("oxford-iiit-pet-8.safetensors"))
        return load_pets(8, root=folder)
    def batches(data):
        place(data, *(at(f"batches/cifar-10-batches-py/{n}") for n in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]))
        return load_cifar10(at("batches"))
    def pictures(data): place(data, at("pictures/a/x.jpg"), at("pictures/b/x.jpg")); return load_folder(at("pictures"), 8)
    def record(data): place(data, at("r/record.json"), at("r/config.yaml")); return read_record(at("r"))
    def surface(data): return loss_surface(small(), torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64), [dict(small().named_parameters())], [0.0], file=place(data, at("l.npz")))
    def network(data): return make_network(ModelConfig(name="resnet20", options=dict(widths=(2, 2, 2)), weights=str(place(data, at("n.pth")))), 10, 8)
    return dict(
        load_model=lambda d: load_model(small(), place(d, at("m.safetensors"))), load_body=lambda d: load_body(small(), place(d, at("b.safetensors"))),
        load_body_pth=lambda d: load_body(small(), place(d, at("b.pth"))), load_body_pt=lambda d: load_body(small(), place(d, at("b.pt"))), body_digest=lambda d: body_digest(place(d, at("b.pth"))),
        make_network=network, round_weights=lambda d: round_weights(place(d, at("m.safetensors")), at("half")), load_checkpoint=lambda d: load_checkpoint(state(), place(d, at("checkpoint.pt"))),
        load_store=lambda d: load_store(place(d, at("s.safetensors"))), load_cifar10=lambda d: load_cifar10(place(d, at("c/cifar10.safetensors")).parent), load_cifar10_batches=batches, load_pets=pets,
        doctor=lambda d: _cifar10(place(d, at("c/cifar10.safetensors")).parent), load_predictions=lambda d: load_predictions(place(d, at("p.safetensors"))),
        read_predictions=lambda d: read_predictions(place(d, at("r/test.safetensors"), at("r/record.json")).parent), read_maps=lambda d: read_maps(place(d, at("r/maps.safetensors")).parent),
        load_surface=lambda d: load_surface(place(d, at("l.npz"))), loss_surface=surface, read_record=record, history=lambda d: History.from_csv(place(d, at("h.csv"))),
        decode_photo=lambda d: decode_photo(place(d, at("x.jpg")), 8), load_folder=pictures)


def test_a_program_inside_a_file_does_not_run(full, state, tmp_path, capsys):
    mark = tmp_path / "it ran"
    save_checkpoint(state(), tmp_path / "whole.pt")
    files = programs(mark, torch.load(tmp_path / "whole.pt", weights_only=True))
    for name, data in files.items():                                   # the files are what they claim
        careless(data)
        assert mark.exists(), name
        mark.unlink()
    if not full: files = {k: v for i, (k, v) in enumerate(files.items()) if i % 5 == 0 or k == "checkpoint touch, history"}
    tried = 0
    for reader, read in readers(tmp_path / "files", state).items():
        for name, data in files.items():
            try: read(data)
            except REFUSED as e: assert "Traceback" not in str(e) and len(str(e)) < 1200, (reader, name, e)
            except Exception as e: pytest.fail(f"{reader}, {name}: {type(e).__name__}: {e}")
            else: assert reader == "load_pets", f"{reader} took {name}"
            assert not mark.exists(), f"{reader} ran the program of {name}"
            tried += 1
    with capsys.disabled(): print(f"\n{tried} files with a program for {len(readers(tmp_path, state))} readers: none ran; refused, and the cache of Pets made again")


WRONG = [None, [], {}, "x", 3, 0.5, True, [None], [[1]], {"a": 1}, {1: 2}, torch.zeros(0), torch.zeros(3), "\0"]


def test_a_checkpoint_with_parts_of_another_kind(full, state, tmp_path, capsys):
    "Plain numbers can be wrong too: each part is left out, or is of another kind."
    rng, path = random.Random(0), tmp_path / "checkpoint.pt"
    save_checkpoint(state(), path)
    whole = torch.load(path, weights_only=True)
    cases = [(k, v) for k in whole for v in [KeyError, *WRONG]]
    cases += [(f"{k}/{inner}", v) for k in whole if isinstance(whole[k], dict) for inner in list(whole[k])[:4] for v in [KeyError, *WRONG]]
    refused = 0
    cases = cases if full else rng.sample(cases, 20)
    for key, value in cases:
        bad, (outer, _, inner) = dict(whole), key.partition("/")
        if inner: bad[outer] = dict(whole[outer])
        part, name = (bad[outer], inner) if inner else (bad, outer)
        if value is KeyError: del part[name]
        else: part[name] = value
        torch.save(bad, path)
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try: load_checkpoint(state(), path)
            except ValueError as e: refused += 1; assert str(path) in str(e), (key, value, e)
            except Exception as e: pytest.fail(f"{key} = {value!r}: {type(e).__name__}: {e}")
    assert refused > len(cases) / 2
    with capsys.disabled(): print(f"\n{len(cases)} checkpoints with a wrong part: {refused} refused, the others' part was not needed")


def test_weights_that_are_none(tmp_path):
    path = tmp_path / "x.pth"
    for value in (*WRONG, dict(model=small().state_dict(), epoch=3), {k: v.tolist() for k, v in small().state_dict().items()}, {1: torch.zeros(2)},
                  {k: v.to_sparse() for k, v in small().state_dict().items()}, {k: v.to("meta") for k, v in small().state_dict().items()}):
        torch.save(value, path)
        with pytest.raises(ValueError, match="x.pth"): load_body(small(), path)
        if value != {}:                                                # nothing has a digest too
            with pytest.raises(ValueError, match="x.pth"): body_digest(path)
    torch.save({k: v.bfloat16() if v.is_floating_point() else v for k, v in small().state_dict().items()}, path)
    assert len(body_digest(path)) == 64 and load_body(small(), path)


def formats(folder):
    "One right file of each kind, and what reads it."
    net = small()
    save_file(net.state_dict(), folder / "m.safetensors")
    torch.save(net.state_dict(), folder / "b.pth")
    save_file(dict(logits=torch.zeros(4, 3), targets=torch.zeros(4).int(), indices=torch.arange(4).int()), folder / "p.safetensors", dict(about=json.dumps(dict(classes=["a", "b", "c"], name="test"))))
    pixels, labels = torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.zeros(4).long()
    save_file(dict(train_images=pixels, train_labels=labels, test_images=pixels.clone(), test_labels=labels.clone()), folder / "s.safetensors", dict(classes='["a", "b"]', source="none"))
    save_file(dict(maps=torch.zeros(2, 3, 1, 1), indices=torch.arange(2), weight=torch.zeros(2, 3), bias=torch.zeros(2)), folder / "maps.safetensors")
    np.savez_compressed(folder / "l.npz", **Surface(np.zeros(3), np.zeros(300), np.random.default_rng(0).random(300))._asdict(), key="k")
    History([dict(epoch=k, train_loss=1 / (k + 1)) for k in range(5)]).to_csv(folder / "h.csv")
    return {"m.safetensors": lambda p: load_model(small(), p), "b.pth": lambda p: load_body(small(), p), "p.safetensors": load_predictions, "s.safetensors": load_store,
            "maps.safetensors": lambda p: read_maps(p.parent), "l.npz": load_surface, "h.csv": History.from_csv}


def spoilt(data, rng):
    "Bytes with a few wrong, cut off, doubled, or with others' bytes in between."
    out = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(out) if rng.random() < 0.4 else min(len(out), 300))       # headers say more than numbers
        what = rng.randrange(4)
        if what == 0: out[at] = rng.randrange(256)
        elif what == 1: out[at:at] = rng.randbytes(rng.randint(1, 9))
        elif what == 2: del out[at:at + rng.randint(1, 99)]
        else: out[at:at] = out[at:at + 50]
        out = out or bytearray(b"\0")
    return bytes(out[:rng.randrange(len(out))] if rng.random() < 0.2 else out)


def test_spoilt_bytes(full, tmp_path, capsys):
    rng, n = random.Random(1), 3000 if full else 210
    kinds = formats(tmp_path)
    for name, read in kinds.items(): read(tmp_path / name)             # they are right
    whole, refused = {name: (tmp_path / name).read_bytes() for name in kinds}, 0
    for i in range(n):
        name = list(kinds)[i % len(kinds)]
        (tmp_path / name).write_bytes(data := spoilt(whole[name], rng))
        try: kinds[name](tmp_path / name)
        except REFUSED as e: refused += 1; assert str(tmp_path / name) in str(e), (i, e)
        except Exception as e: pytest.fail(f"{name}, file {i}: {type(e).__name__}: {e} {data[:200]!r}")
    assert refused > n / 2
    with capsys.disabled(): print(f"\n{n} spoilt files, seed 1: {refused} refused, {n - refused} still whole enough")


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5), lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from(["classes", "name", "x"]), v, max_size=3), max_leaves=8)
WORDS = st.one_of(JSON.map(json.dumps), st.text(max_size=8), st.just("[" * 5000), st.just("9" * 5000))


def test_words_in_a_header(full, tmp_path):
    "What a store and predictions say of themselves is JSON that anybody may have written."
    numbers = dict(logits=torch.zeros(4, 2), targets=torch.zeros(4).int(), indices=torch.zeros(4).int())
    pixels = dict(train_images=torch.zeros(2, 3, 2, 2, dtype=torch.uint8), train_labels=torch.zeros(2).long(), test_images=torch.zeros(2, 3, 2, 2, dtype=torch.uint8), test_labels=torch.zeros(2).long())
    path = tmp_path / "x.safetensors"

    @settings(max_examples=1000 if full else 30, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(WORDS, WORDS, WORDS)
    def ask(one, two, three):
        for state, words, read in ((numbers, dict(about=one), lambda p: load_predictions(p, ["a", "b"])), (pixels, dict(classes=one, source="x", notes=two, train_names=three), load_store)):
            save_file(state, path, words)
            try: read(path)
            except ValueError as e: assert str(path) in str(e)
    ask()


UNSAFE = {"pickle.load", "pickle.loads", "pickle.Unpickler", "dill.load", "dill.loads", "joblib.load", "cloudpickle.load", "cloudpickle.loads", "marshal.load", "marshal.loads", "shelve.open", "pandas.read_pickle",
          "eval", "exec", "__import__", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "os.system", "os.popen", "tempfile.mktemp", "torch.hub.load", "torch.jit.load"}
NEEDS = {"torch.load": ("weights_only", True), "torch.hub.load_state_dict_from_url": ("weights_only", True), "get_state_dict": ("weights_only", True), "numpy.load": ("allow_pickle", False)}
REASONS = {("local_ranks.py", "exec"): "runs the function that this program's own user wrote, in processes that it started",
           ("local_ranks.py", "pickle.loads"): "answers of those processes, through pipes that nobody else holds"}


def unsafe(source):
    "[(line, call)] of what could run a program that stands in a file."
    tree, names, out = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import): names |= {(a.asname or a.name).split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names}
        if isinstance(node, ast.ImportFrom): names |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    def called(f):
        if isinstance(f, ast.Name): return names.get(f.id, f.id)
        return f"{called(f.value)}.{f.attr}" if isinstance(f, ast.Attribute) else ""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call): continue
        name = called(node.func); given = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        needs = NEEDS.get(name) or NEEDS.get(name.rpartition(".")[2] if name.endswith("get_state_dict") else "")
        loader = next((getattr(v, "id", getattr(v, "attr", "")) for v in [*node.args[1:2], *(k.value for k in node.keywords if k.arg == "Loader")]), "")
        if name in UNSAFE or needs and given.get(needs[0], ...) is not needs[1] or name == "yaml.load" and loader not in ("_Loader", "SafeLoader") or given.get("shell"): out.append((node.lineno, name))
    return out


def test_nothing_in_the_package_runs_what_a_file_says(root):
    for bad in ("import torch\ntorch.load(f)", "import torch\ntorch.load(f, weights_only=False)", "from torch import load as l\nl(f)", "import pickle as p\np.loads(b)", "from pickle import Unpickler\nUnpickler(f)",
                "import numpy as np\nnp.load(f)", "import numpy as np\nnp.load(f, allow_pickle=True)", "import yaml\nyaml.load(t)", "import yaml\nyaml.load(t, yaml.Loader)", "eval(t)", "exec(t)", "w.get_state_dict(check_hash=True)",
                "import subprocess\nsubprocess.run(c, shell=True)"):
        assert unsafe(bad), bad
    assert not unsafe("import torch, numpy as np, yaml\nmodel.eval()\ntorch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nyaml.load(t, _Loader)\nyaml.safe_load(t)")
    found = {(p.name, name): f"{p.relative_to(root)}:{line}" for p in [*(root / "resnet_course").rglob("*.py"), *(root / "tools").rglob("*.py")] for line, name in unsafe(p.read_text(encoding="utf-8"))}
    assert not {k: v for k, v in found.items() if k not in REASONS}, "read numbers with safetensors, or with weights_only=True; text with a safe loader"
    assert set(REASONS) <= set(found), "a reason that is no longer needed"
    from resnet_course.experiment import _Loader
    import yaml
    assert issubclass(_Loader, yaml.SafeLoader)
