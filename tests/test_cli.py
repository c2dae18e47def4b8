"""The command line against bad input: one line, exit code 2, never a traceback; the same with --json."""
import io, json, os, shutil, subprocess, sys, types
from pathlib import Path

import pytest

from resnet_course.cli import main

CONFIG = """
name: tiny
data: {dataset: embedded, image_size: 16, batch_size: 32, limit: 64, eval_limit: 40}
model: {name: resnet20, options: {widths: [4, 8, 16]}}
training: {epochs: 1, schedule: constant, lr: 0.05}
seeds: [0]
results: [learning_curves]
scales: {smoke: {training.epochs: 1}}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    "A finished run, trained by the command line; not to be changed."
    folder = tmp_path_factory.mktemp("cli")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    assert main(["train", str(folder / "config.yaml"), "--run", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


@pytest.fixture
def copy(run, tmp_path):
    "A copy of the run, to be damaged."
    return shutil.copytree(run, tmp_path / "run")


@pytest.fixture
def cli(capsys):
    "A function that calls the program: exit code, stdout, stderr."
    def call(*argv):
        code = main([str(a) for a in argv])
        return code, *capsys.readouterr()
    return call


@pytest.fixture
def refused(cli):
    "A function that asserts how a mistake is answered, as text and as JSON."
    def call(*argv, says):
        code, out, err = cli(*argv)
        said = err.removeprefix(f"{first}\n") if (first := err.partition("\n")[0]).startswith("run folder: ") else err
        assert (code, out) == (2, "") and said.startswith("resnet-course: ") and said.count("\n") <= 6, (code, out, err)    # a line for each mistake
        assert says in said and "Traceback" not in err, err
        code, out, _ = cli(*argv, "--json")
        assert code == 2 and out.count("\n") == 1 and says in json.loads(out)["error"] and list(json.loads(out)) == ["error"]
    return call


def changed(old, new):
    assert CONFIG.count(old) == 1, old
    return CONFIG.replace(old, new)


YAML = {
    "typo at the top": (changed("training: {e", "trainig: {e"), "trainig: unknown key"),
    "typo in data": (changed("batch_size", "batchsize"), "data.batchsize: unknown key (value 32); did you mean 'batch_size'?"),
    "typo in model": (changed("options", "optoins"), "did you mean 'options'?"),
    "typo in options": (changed("widths", "widht"), "model.options.widht: unknown key (value [4, 8, 16]); did you mean 'widths'?"),
    "typo in training": (changed("lr: ", "lrr: "), "did you mean 'lr'?"),
    "typo in a scale": (changed("smoke: {training.epochs", "smoke: {training.epoch"), "scales.smoke: training.epoch: unknown key (value 1); did you mean 'epochs'?"),
    "unknown scale": (changed("smoke:", "smok:"), "unknown scale 'smok'"),
    "unknown dataset": (changed("embedded", "cifar"), "did you mean 'cifar10'?"),
    "unknown model": (changed("resnet20", "resnet-20"), "model.name: 'resnet-20' cannot be; did you mean 'resnet20'?"),
    "unknown schedule": (changed("constant", "cosinus"), "training.schedule: 'cosinus' cannot be; did you mean 'cosine'?"),
    "unknown figure": (changed("[learning_curves]", "[learning_curve]"), "results.0: 'learning_curve' cannot be; did you mean 'learning_curves'?"),
    "word for a number": (changed("batch_size: 32", "batch_size: many"), "data.batch_size: 'many' cannot be"),
    "fraction for a number": (changed("epochs: 1, s", "epochs: 1.5, s"), "training.epochs: 1.5 cannot be"),
    "negative rate": (changed("0.05", "-0.05"), "greater than 0"),
    "no rate": (changed("0.05", ".nan"), "finite"),
    "number for a section": (changed("{epochs: 1, schedule: constant, lr: 0.05}", "3"), "training: 3 cannot be; expected a section"),
    "list for a section": (changed("{name: resnet20, options: {widths: [4, 8, 16]}}", "[resnet20]"), "model: ['resnet20'] cannot be; expected a section"),
    "nothing for a section": (changed("{dataset: embedded, image_size: 16, batch_size: 32, limit: 64, eval_limit: 40}", ""), "data: None cannot be"),
    "number for a list": (changed("seeds: [0]", "seeds: 0"), "seeds: 0 cannot be; expected a list"),
    "a seed twice": (changed("seeds: [0]", "seeds: [1, 1]"), "contain one twice"),
    "no seed": (changed("seeds: [0]", "seeds: []"), "seeds: [] cannot be"),
    "number for a scale": (changed("{smoke: {training.epochs: 1}}", "{smoke: 1}"), "scales.smoke: 1 cannot be"),
    "number for a name": (changed("name: tiny", "name: 12"), "name: 12 cannot be"),
    "a name with blanks": (changed("name: tiny", "name: Tiny Net"), "'Tiny Net' cannot be"),
    "numbers for keys": (changed("epochs: 1, s", "1: 2, s"), "training.1: keys must be words"),
    "section missing": (changed("model: {name: resnet20, options: {widths: [4, 8, 16]}}\n", ""), "model: this key is required; add it"),
    "widths for other stages": (changed("[4, 8, 16]", "[4, 8]"), "2 entries for 3 stages"),
    "widths of words": (changed("[4, 8, 16]", "[a, b, c]"), "model.options.widths.0: 'a' cannot be; input should be a valid integer"),
    "widths of nothing": (changed("[4, 8, 16]", "[0, 0, 0]"), "model.options.widths.0: 0 cannot be; input should be greater than 0"),
    "widths that shrink": (changed("[4, 8, 16]", "[16, 8, 4]"), "model: "),
    "word for a switch": (changed("options: {", "options: {residual: maybe, "), "model.options.residual: 'maybe' cannot be"),
    "grey pictures": (changed("options: {", "options: {in_channels: 1, "), "model.options.in_channels: 1 cannot be; input should be 3"),
    "too few classes": (changed("options: {", "options: {num_classes: 2, "), "num_classes: 2 are too few for 10 classes"),
    "a curve of ten classes": (changed("[learning_curves]", "[roc]"), "results: roc is drawn for two classes, these are 10"),
    "a figure of a split left alone": (changed("[learning_curves]", "[mistakes]") + "test: false\n", "results: mistakes is drawn of the test split, and test is false"),
    "a key twice": (CONFIG + "seeds: [1]\n", "not YAML, line 9: the key 'seeds' stands there twice"),
    "a negative seed": (changed("seeds: [0]", "seeds: [-1]"), "seeds.0: -1 cannot be; input should be greater than or equal to 0"),
    "a seed without end": (changed("seeds: [0]", f"seeds: [{2**70}]"), "seeds.0: "),
    "more in a batch than there is": (changed("batch_size: 32", "batch_size: 4096"), "4096 is more than the 64 training images"),
    "not YAML": ("name: [tiny", "not YAML, line"),
    "a list": ("- name: tiny\n", "expected keys and values, found list"),
    "a word": ("tiny", "expected keys and values, found str"),
    "nested without end": ("[" * 600, "nested too deeply"),
    "a comment": ("# nothing yet\n", "the file is empty"),
    "empty": ("", "the file is empty"),
    "binary": (bytes(range(256)), "not a text file"),
    "binary that is text": (b"PK\x03\x04\x00\x00", "not YAML"),
}


@pytest.mark.parametrize("text, says", YAML.values(), ids=YAML)
def test_a_bad_config_is_refused(text, says, refused, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused("train", path, "--run", tmp_path / "run", says=says)
    assert not (tmp_path / "run").exists()


TRAIN = {
    "nothing": ([], "name a config file"), "a folder": (["."], "not a text file" if os.name != "nt" else "permission denied"), "no such file": (["none.yaml"], "none.yaml: there is no such file"),
    "set: typo": (["C", "--set", "training.epoch=2"], "training.epoch: unknown key (value 2); did you mean 'epochs'?"), "set: typo in the section": (["C", "--set", "trainig.epochs=2"], "did you mean 'training'?"),
    "set: a section": (["C", "--set", "training=3"], "training: 3 cannot be; expected a section"), "set: nothing": (["C", "--set", ""], "expected key=value"), "set: no value": (["C", "--set", "training.lr"], "expected key=value"),
    "set: no key": (["C", "--set", "=3"], "expected key=value"), "set: not YAML": (["C", "--set", "training.lr=[1"], "--set training.lr: not YAML"), "set: inside a value": (["C", "--set", "name.x=1"], "not a section"),
    "set: a scale": (["C", "--set", "scales.smoke.training.epochs=2"], "scales belong to the file"), "set: option": (["C", "--set", "model.options.width=4"], "did you mean 'widths'?"), "set: device": (["C", "--set", "data.device=gpu"], "device 'gpu' is not known"),
    "seeds: words": (["C", "--seeds", "a,b"], "'a,b' is no list of whole numbers"), "seeds: twice": (["C", "--seeds", "0,0"], "contain one twice"), "scale": (["C", "--scale", "laptpo"], "did you mean 'laptop'?"),
    "resume: nothing there": (["--resume", "none"], "there is no such file"), "resume and config": (["C", "--resume", "R"], "without a config file"), "resume and set": (["--resume", "R", "--set", "a=1"], "as it was begun"),
    "run: inside a file": (["C", "--run", "c.yaml/run"], "c.yaml"), "run: of another": (["C", "--run", "R", "--set", "training.lr=0.5"], "holds a run with another training"),
}


@pytest.mark.parametrize("argv, says", TRAIN.values(), ids=TRAIN)
def test_a_bad_call_of_train_is_refused(argv, says, refused, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    refused("train", *({"R": run, "C": "c.yaml"}.get(a, a) for a in argv), says=says)


OTHERS = {
    "no command": ([], "COMMAND"), "unknown command": (["evalute", "x"], "did you mean 'evaluate'?"), "unknown option": (["evaluate", "R", "--devise", "cpu"], "did you mean '--device'?"), "unknown split": (["evaluate", "R", "--split", "tset"], "did you mean 'test'?"),
    "evaluate: nowhere": (["evaluate", "no_such"], "neither a folder with a config.yaml nor a published experiment"), "evaluate: foreign folder": (["evaluate", "."], "neither"), "evaluate: device": (["evaluate", "R", "--device", "tpu"], "device 'tpu'"),
    "predict: nowhere": (["predict", "no_such", "a.png"], "neither"), "predict: no picture": (["predict", "R"], "IMAGE"), "predict: none of them": (["predict", "R", "a.png", "--top", "0"], "at least 1"), "predict: top": (["predict", "R", "a.png", "--top", "x"], "--top"),
    "compare: one": (["compare", "R"], "two results or more"), "compare: nowhere": (["compare", "R", "no_such"], "no_such: neither"), "report: nowhere": (["report", "no_such"], "neither"), "report: onto a folder": (["report", "R", "--out", "."], "is a folder"),
    "report: inside a file": (["report", "R", "--out", "a.txt/page.html"], "a.txt"), "data: unknown": (["data", "cifar"], "did you mean 'cifar10'?"), "data: none": (["data"], "dataset"),
}


@pytest.mark.parametrize("argv, says", OTHERS.values(), ids=OTHERS)
def test_a_bad_call_of_the_others_is_refused(argv, says, refused, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("words")
    refused(*(str(run) if a == "R" else a for a in argv), says=says)


def rewritten(folder, change):
    "Change the record in a folder."
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    change(record)
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")


def other_architecture(folder):
    "Whole weights of a wider network, under their own digest."
    import hashlib
    from resnet_course.records import save_model
    from resnet_course.resnet import resnet20
    path = folder / "seed0" / "weights.safetensors"
    save_model(resnet20(widths=(8, 16, 32)), path)
    rewritten(folder, lambda r: r["per_seed"][0].update(weights_sha256=hashlib.sha256(path.read_bytes()).hexdigest()))


def flipped(folder):
    path = folder / "seed0" / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


RECORD = {
    "no config": (lambda f: (f / "config.yaml").unlink(), "neither a folder with a config.yaml"),
    "no record": (lambda f: (f / "record.json").unlink(), "record.json: missing; the run is not finished"),
    "half a record": (lambda f: (f / "record.json").write_text('{"format": 1, "na'), "record.json: damaged"),
    "a binary record": (lambda f: (f / "record.json").write_bytes(bytes(range(256))), "record.json: damaged"),
    "a list": (lambda f: (f / "record.json").write_text("[1, 2]"), "record.json: damaged"),
    "a foreign object": (lambda f: (f / "record.json").write_text('{"accuracy": 1}'), "record.json: format: this key is required"),
    "a record of another format": (lambda f: rewritten(f, lambda r: r.update(format=7)), "a record of format 7; this version"),
    "a record without classes": (lambda f: rewritten(f, lambda r: r["data"].pop("classes")), "data.classes: this key is required"),
    "a record with another model": (lambda f: rewritten(f, lambda r: r["config"]["model"].update(name="resnet21")), "config: model.name: 'resnet21' cannot be"),
}
WEIGHTS = {
    "no weights": (lambda f: (f / "seed0" / "weights.safetensors").unlink(), "holds no weights.safetensors"),
    "a flipped bit": (flipped, "damaged, or not the weights of the record"),
    "weights cut off": (lambda f: (f / "seed0" / "weights.safetensors").write_bytes((f / "seed0" / "weights.safetensors").read_bytes()[:99]), "damaged, or not the weights"),
    "another architecture": (other_architecture, "weights of another architecture"),
}


@pytest.mark.parametrize("damage, says", [*RECORD.values(), *WEIGHTS.values()], ids=[*RECORD, *WEIGHTS])
def test_a_damaged_run_is_refused(damage, says, refused, copy, picture):
    damage(copy)
    refused("evaluate", copy, says=says)
    refused("predict", copy, picture, says=says)


@pytest.mark.parametrize("damage, says", RECORD.values(), ids=RECORD)
def test_a_damaged_record_is_neither_compared_nor_reported(damage, says, refused, run, copy):
    damage(copy)
    refused("compare", run, copy, says=says)
    refused("report", copy, says=says)


@pytest.mark.parametrize("name, content", [("seed0/history.csv", None), ("seed0/history.csv", b"\x00\xff"), ("seed0/history.csv", b"a,b\n1,2\n"), ("figures/learning_curves.png", b"x")])
def test_a_report_says_what_is_missing_from_it(name, content, cli, copy):
    if "history" in name: shutil.rmtree(copy / "figures")                               # a figure that is there is taken from there
    (copy / name).write_bytes(content) if content else (copy / name).unlink()
    code, out, err = cli("report", copy)
    assert code == 0 and "learning_curves: not drawn" in err and "learning curves: not drawn" in Path(out.strip()).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    from PIL import Image
    path = tmp_path_factory.mktemp("pictures") / "B\u00e4r \u718a.png"
    Image.new("RGB", (50, 40), "teal").save(path)
    return path


def test_predict_answers_for_the_good_pictures_and_names_the_bad_ones(cli, run, picture, tmp_path):
    (tmp_path / "words.jpg").write_text("no picture")
    code, out, err = cli("predict", run, tmp_path / "words.jpg", picture, tmp_path, tmp_path / "none.png", "--top", 2)
    assert code == 2 and picture.name in out and out.count("%") == 2 and "cut to its centre" in out and "words.jpg" not in out
    assert [line.split(": ")[2] for line in err.splitlines()] == ["cannot be read as a picture", "is a folder; name the pictures in it", "there is no such file"]
    code, out, _ = cli("predict", run, tmp_path / "words.jpg", picture, "--json", "--top", 99)
    bad, good = json.loads(out)
    assert code == 2 and out.count("\n") == 1 and "picture format" in bad["error"] and good["image"] == str(picture) and len(good["top"]) == 10
    assert cli("predict", run, str(picture.parent / "*.png"))[0] == 0                    # a pattern that the shell left alone


def test_results_are_plain_data(cli, run):
    code, out, err = cli("compare", run, run, "--json")
    assert (code, err) == (0, "") and json.loads(out)["config"] == {} and len(json.loads(out)["figures"]["test accuracy"]) == 2
    code, out, err = cli("evaluate", run, "--split", "val", "--json")
    assert (code, err) == (0, "") and json.loads(out)["accuracy"] == json.loads(out)["recorded"]["accuracy"]
    assert (run / "figures" / "learning_curves.png").stat().st_size > 10_000            # `results` asked for it


def test_data_hands_everything_over(cli, refused, monkeypatch, tmp_path):
    calls, module = [], types.ModuleType("resnet_course.download")
    def get_dataset(name, root=None, *, file=None, url=None, progress=True): calls.append((name, root, file, url, progress)); return tmp_path / name
    module.get_dataset = get_dataset
    monkeypatch.setitem(sys.modules, "resnet_course.download", module)
    assert cli("data", "pets", "--from", "p.tar.gz", "--root", "r", "--quiet") == (0, f"{tmp_path / 'pets'}\n", "")
    code, out, _ = cli("data", "cifar10", "--url", "http://localhost/c", "--json")
    assert code == 0 and json.loads(out) == dict(dataset="cifar10", path=str(tmp_path / "cifar10"))
    assert calls == [("pets", Path("r"), Path("p.tar.gz"), None, False), ("cifar10", None, None, "http://localhost/c", True)]
    def offline(*a, **k): raise ConnectionError("no network; copy the archive and name it with --from")
    module.get_dataset = offline
    refused("data", "pets", says="no network; copy the archive")


@pytest.mark.parametrize("level, code", [("warning", 0), ("error", 1)])
def test_doctor_tells_by_its_exit_code(level, code, cli, monkeypatch):
    import resnet_course.doctor as doctor
    monkeypatch.setattr(doctor, "examine", lambda: doctor.Findings([doctor.Finding("cpu", level, "slow", "wait")]))
    assert cli("doctor")[:2] == (code, f"{level:9}cpu          slow\n{'':22}-> wait\n\n{'1 error, no warnings' if code else 'no errors, 1 warning'}\n")
    assert json.loads(cli("doctor", "--json")[1]) == [dict(check="cpu", level=level, message="slow", remedy="wait")]


def test_what_may_not_be_read_is_named(refused, monkeypatch, tmp_path):
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    def denied(self, *a, **k): raise PermissionError(13, "Permission denied", str(self))
    monkeypatch.setattr(Path, "read_text", denied)
    refused("train", tmp_path / "c.yaml", says="c.yaml: permission denied")


def test_an_interrupt_says_how_to_go_on(cli, monkeypatch, tmp_path):
    import resnet_course.experiment as experiment
    def stop(*a, **k): raise KeyboardInterrupt("stopped at epoch 2; call fit again")
    monkeypatch.setattr(experiment, "run_experiment", stop)
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    code, out, err = cli("train", tmp_path / "c.yaml", "--run", tmp_path / "r", "--json")
    assert code == 130 and json.loads(out)["error"] == f"stopped at epoch 2; go on with: resnet-course train --resume {tmp_path / 'r'}" == err.splitlines()[-1]


def test_memory_that_is_not_there_is_a_mistake_and_a_bug_is_not(cli, refused, monkeypatch, run):
    import resnet_course.experiment as experiment
    def full(*a, **k): raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")
    monkeypatch.setattr(experiment, "evaluate_experiment", full)
    refused("evaluate", run, says="out of memory; lower data.batch_size")
    def bug(*a, **k): raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    monkeypatch.setattr(experiment, "evaluate_experiment", bug)
    with pytest.raises(RuntimeError, match="mat1"): main(["evaluate", str(run)])


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_console_without_utf8_shows_escapes(encoding, run, picture, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    assert main(["predict", str(run), str(picture)]) == 0
    assert b"\\u718a.png" in raw.getvalue()


class Closed(io.StringIO):
    "A stream that cannot be written."
    def __init__(self, error): super().__init__(); self.error = error
    def write(self, text): raise self.error


@pytest.mark.parametrize("error, code", [(BrokenPipeError(32, "Broken pipe"), 141), (OSError(28, "No space left on device"), 2)])
def test_output_that_cannot_be_written(error, code, run, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Closed(error))
    assert main(["compare", str(run), str(run)]) == code
    assert "Traceback" not in capsys.readouterr().err


def program(*argv, **how):
    return subprocess.Popen([sys.executable, "-m", "resnet_course", *argv], stderr=subprocess.PIPE, text=True, encoding="utf-8", **how)


def test_as_a_process_its_help_can_be_piped_to_head():
    read, write = os.pipe()
    os.close(read)                                       # a reader that has left already
    process = program("--help", stdout=write, env={k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"})
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (141 if os.name != "nt" else process.returncode) and "Traceback" not in err and "Exception ignored" not in err


def test_as_a_process_on_a_console_without_utf8():
    process = program("b\u00e4r", "--json", stdout=subprocess.PIPE, env={**os.environ, "PYTHONIOENCODING": "ascii:strict"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2 and "b\u00e4r" in json.loads(out)["error"] and err.startswith("resnet-course: ") and "b\\xe4r" in err


@pytest.mark.parametrize("command", ["", "train", "evaluate", "predict", "compare", "report", "data", "doctor"])
def test_help_shows_examples_and_fits_a_terminal(command, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, err = cli(*filter(None, [command]), "--help")
    assert (code, err) == (0, "") and "examples:\n  resnet-course " in out and max(map(len, out.splitlines())) <= 100


def test_a_sweep_goes_on_where_it_was(tmp_path, cli, refused):
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    ask = ("train", tmp_path / "config.yaml", "--run", tmp_path / "runs", "--quiet", "--set", "training.lr=0.02", "--sweep")
    code, out, _ = cli(*ask, "training.momentum=0.5,0.9")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == ["0.5", "0.9"] and "test accuracy" in out
    ended = {v: (tmp_path / "runs" / v / "record.json").stat().st_mtime_ns for v in ("0.5", "0.9")}
    code, out, _ = cli(*ask, "training.momentum=0.5,0.9,0.8", "--json")
    found = json.loads(out)
    assert code == 0 and list(found) == ["0.5", "0.9", "0.8"] and found["0.8"]["name"] == "tiny/0.8"
    assert ended == {v: (tmp_path / "runs" / v / "record.json").stat().st_mtime_ns for v in ended}        # not trained again
    refused(*ask, "training.momentum=0.5,1.5", says="training.momentum")                                  # before anything is trained
    refused(*ask, "training.momentum", says="KEY=A,B,C")
    refused(*ask, "model.name=resnet20", "--seeds", "0,1", says="without --resume and --seeds")
    refused("train", tmp_path / "config.yaml", "--run", tmp_path / "runs", "--quiet", "--sweep", "training.momentum=0.5", says="another training")
