"A training is killed, its disk is full, its folder is not to be written: nothing is half, and the same command goes on to the same weights."
import errno, functools, itertools, os, shutil, signal, subprocess, tempfile, time
from pathlib import Path

import pytest
import torch

import lives
from resnet_course import core
from resnet_course.cli import main
from resnet_course.data import LoaderConfig, create_embedded_loaders, create_folder_loaders
from resnet_course.resnet import create_model
from resnet_course.training import TrainingConfig, TrainState, fit

forks = pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL and no fork")
WHERE = "a run with spaces – größer, 学习"      # all folders of this file: spaces and letters that ASCII lacks


@pytest.fixture(scope="module")
def place(tmp_path_factory): (folder := tmp_path_factory.mktemp("lives") / WHERE).mkdir(); return folder


@pytest.fixture(scope="module")
def undisturbed(place):
    "The result of a training that is left alone, and that saves after epochs only"
    assert lives.end(*lives.train(place / "undisturbed", place / "said.txt", save_every=300.0)) == 0, (place / "said.txt").read_text(encoding="utf-8")
    return lives.result(place / "undisturbed")


@pytest.fixture(scope="module")
def clock(place, undisturbed):
    "Of a training that saves after each step: when each step ended, and all, in seconds after the first"
    pid, read = lives.train(place / "clock", place / "said.txt"); ticks = []
    while os.read(read, 1): ticks.append(time.perf_counter())
    end = time.perf_counter()
    assert lives.end(pid, read) == 0 and lives.result(place / "clock") == undisturbed and len(ticks) == 12
    return [t - ticks[0] for t in [*ticks, end]]


def goes_on(run, undisturbed):
    "Nothing is half, the same command goes on, and the result is that of the undisturbed training"
    lives.check_whole(run)
    assert lives.end(*lives.train(run, said := run.parent / "said.txt")) == 0, said.read_text(encoding="utf-8")
    assert lives.check_whole(run) == 9 and lives.result(run) == undisturbed
    shutil.rmtree(run)


@forks
def test_killed_at_any_moment_it_goes_on_to_the_same_weights(place, undisturbed, clock, full):
    n, killed, writing = 40 if full else 1, 0, 0
    for i in range(n):
        moment = (i + 0.5) / n * clock[-1]                       # evenly over the time from the first batch to the end
        step = max(k for k, t in enumerate(clock[:-1]) if t <= moment)
        run = place / f"moment{i}"; pid, read = lives.train(run, place / "said.txt")
        for _ in range(step + 1): os.read(read, 1)
        time.sleep(moment - clock[step])
        os.kill(pid, signal.SIGKILL)
        killed += lives.end(pid, read) == -signal.SIGKILL        # not, if the machine has become faster and it was done
        writing += bool(list(run.glob("seed0/.checkpoint.pt.*")))
        goes_on(run, undisturbed)
    print(f"{n} moments: {killed} killed, {writing} of them inside a checkpoint's write; all went on to the same weights")
    assert killed >= 0.9 * n


@forks
def test_killed_inside_the_write_of_a_checkpoint(place, undisturbed, full):
    cases = list(itertools.product((1, 5, 12) if full else (2,), (0, 0.3, 0.7, 1) if full else (0.5,)))
    for number, part in cases:
        run = place / "write"
        assert lives.end(*lives.train(run, place / "said.txt", fault=functools.partial(lives.die_in_write, number, part))) == -signal.SIGKILL
        assert [p.name[:15] for p in run.glob("seed0/.c*.tmp")] == [".checkpoint.pt."] and (run / "seed0" / "checkpoint.pt").exists() == (number > 1)
        goes_on(run, undisturbed)
    print(f"{len(cases)} writes of a checkpoint were cut short; all went on to the same weights")


@forks
def test_killed_before_and_after_every_rename(place, undisturbed, full):
    "Config, begun, four checkpoints and histories, two splits' answers, weights, result, record: 15 files in all"
    if not full: pytest.skip("in the full form")
    for number, after in itertools.product(range(1, 16), (False, True)):
        run = place / "rename"
        assert lives.end(*lives.train(run, place / "said.txt", save_every=300.0, fault=functools.partial(lives.die_at_rename, number, after))) == -signal.SIGKILL
        goes_on(run, undisturbed)
    assert lives.end(*lives.train(place / "rename", place / "said.txt", save_every=300.0, fault=functools.partial(lives.die_at_rename, 16, False))) == 0    # there are no more


@pytest.fixture
def cli(capsys):
    "A function that calls the program: exit code, and the last line that it says"
    def call(*argv):
        code = main([str(a) for a in argv]); said = capsys.readouterr().err
        assert "Traceback" not in said
        return code, said.strip().rpartition("\n")[2]
    return call


class Disk:
    "os.fsync on a disk that is full at one of the calls"
    def __init__(self, full_at): self.left, self.fsync = full_at, os.fsync
    def __call__(self, fd):
        self.left -= 1
        if not self.left: raise OSError(errno.ENOSPC, "No space left on device")
        self.fsync(fd)


def test_a_full_disk_at_any_write_is_said_and_nothing_is_half(place, undisturbed, full, cli, monkeypatch):
    torch_threads = torch.get_num_threads(); torch.set_num_threads(1)
    for number in range(1, 16) if full else (12,):
        run = place / "full"
        with monkeypatch.context() as m:
            m.setattr(core.os, "fsync", Disk(number))
            code, said = cli("train", lives.config(place), "--run", run, "--quiet")
        assert code == 2 and said.startswith(f"resnet-course: {run}") and said.endswith(": no space left on device"), said
        assert not list(run.rglob(".*.tmp"))
        lives.check_whole(run)
        assert cli("train", lives.config(place), "--run", run, "--quiet")[0] == 0 and lives.result(run) == undisturbed
        shutil.rmtree(run)
    torch.set_num_threads(torch_threads)


@forks
@pytest.mark.parametrize("kilobytes", [60, 250])
def test_a_small_disk_then_a_larger_one(kilobytes, place, undisturbed, full):
    "A disk of so many kilobytes, really full; then room is made"
    if not full: pytest.skip("in the full form; tests/test_distributed.py has a small disk, too")
    (disk := place / "disk").mkdir(exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(disk)], capture_output=True, text=True)
    if mounted.returncode: pytest.skip("no right to mount a small disk")
    try:
        code = lives.end(*lives.train(disk / "run", place / "said.txt", save_every=300.0)); said = (place / "said.txt").read_text(encoding="utf-8").splitlines()[-1]
        assert code == 2 and said.startswith(f"resnet-course: {disk / 'run'}") and said.endswith(": no space left on device"), said
        lives.check_whole(disk / "run")
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        goes_on(disk / "run", undisturbed)
    finally: subprocess.run(["umount", "-l", str(disk)], check=True)


@forks
@pytest.mark.parametrize("what", ["file size", "no permission", "read-only disk"])
def test_a_folder_that_cannot_be_written(what, undisturbed, full):
    "The system refuses to write; one line says which file, and the program ends with 2"
    place = Path(tempfile.mkdtemp(prefix="refused-")); place.chmod(0o755); said = place / "said.txt"; said.touch(); said.chmod(0o666); lives.config(place)
    (folder := place / "mine").mkdir()
    def limited(): import resource; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    def nobody(): os.setgid(65534); os.setuid(65534)
    try:
        if what == "read-only disk" and subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(folder)], capture_output=True).returncode: pytest.skip("no right to mount a disk")
        if what == "no permission" and os.getuid(): folder.chmod(0o555)
        fault = dict(zip(["file size", "no permission", "read-only disk"], (limited, nobody if not os.getuid() else None, None)))[what]
        code = lives.end(*lives.train(folder / "run", said, fault=fault)); last = said.read_text(encoding="utf-8").splitlines()[-1]
        words = {"file size": "file too large", "no permission": "permission denied", "read-only disk": "read-only file system"}[what]
        assert code == 2 and last.startswith(f"resnet-course: {folder / 'run'}") and last.endswith(f": {words}"), last
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True); folder.chmod(0o755); shutil.rmtree(place)


@forks
def test_two_trainings_in_one_folder(place, undisturbed, cli):
    "The second is told; when the first is killed, the folder is free"
    run = place / "shared"; pid, read = lives.train(run, place / "said.txt")
    try:
        os.read(read, 1); os.kill(pid, signal.SIGSTOP)
        code, said = cli("train", lives.config(place), "--run", run, "--quiet")
        assert code == 2 and said == f"resnet-course: {run}: another process is training here; wait for it, or choose another folder"
    finally: os.kill(pid, signal.SIGKILL); lives.end(pid, read)
    goes_on(run, undisturbed)


def test_a_path_with_spaces_and_other_letters_through_all_commands(place, undisturbed, cli):
    run = place / "undisturbed"
    assert WHERE in str(run) and cli("compare", run, run)[0] == 0 and cli("report", run)[0] == 0 and (run / "report.html").stat().st_size > 1000
    (run / "report.html").unlink()
    assert cli("evaluate", run, "--device", "cpu")[0] == 0
    from PIL import Image
    Image.new("RGB", (20, 20), "teal").save(picture := place / "ein größeres Bild.png")
    assert cli("predict", run, picture, "--device", "cpu")[0] == 0


# numbers

def net(seed=0): torch.manual_seed(seed); return create_model("resnet20", widths=(4, 8, 16))


@pytest.fixture(scope="module")
def few(): return create_embedded_loaders(LoaderConfig(device="cpu", image_size=16, batch_size=32, pad_crop=2, flip=True, limit=120, eval_limit=40))


@pytest.mark.parametrize("where", ["layer2.0.conv1.weight", "layer2.0.bn1.running_var", "the output of layer2.0.conv1", "the pictures"])
def test_a_loss_that_is_no_number_stops_names_the_place_and_keeps_the_checkpoint(where, few, tmp_path, monkeypatch, full):
    if not full and where in ("layer2.0.conv1.weight", "the pictures"): pytest.skip("in the full form")
    cfg, model, steps = TrainingConfig(epochs=3, lr=0.05), net(), []
    count, batches, batch = TrainState.count, type(few.train).batches, type(few.train).batch
    def breaks(state, step, seconds):                        # something happens after step 5, the second of epoch 2
        count(state, step, seconds); steps.append(float(step.loss))
        if len(steps) != 5: return
        block = state.model.layer2[0]
        with torch.no_grad():
            if where.endswith("weight"): block.conv1.weight[1, 2, 0, 0] = float("nan")
            if where.endswith("var"): block.bn1.running_var[3] = float("inf")
            if where.startswith("the output"): block.conv1.weight.fill_(3e38)
    monkeypatch.setattr(TrainState, "count", breaks)
    if where == "the pictures":
        spoilt = lambda x: x * float("nan")
        monkeypatch.setattr(type(few.train), "batches", lambda self, epoch, start=0: ((spoilt(x) if self is few.train and len(steps) >= 5 else x, y) for x, y in batches(self, epoch, start)))
        monkeypatch.setattr(type(few.train), "batch", lambda self, *a: (spoilt(batch(self, *a)[0]), batch(self, *a)[1]) if len(steps) >= 5 else batch(self, *a))
    if where.endswith("var"):                                 # statistics are used in evaluations alone: it is found when it is saved
        with pytest.raises(FloatingPointError) as e: fit(model, few, cfg, folder=tmp_path, progress=False, save_every=0)
        assert where in str(e.value) and len(steps) == 5
    else:
        with pytest.raises(FloatingPointError) as e: fit(model, few, cfg, folder=tmp_path, progress=False, save_every=300)
        assert f"the loss of epoch 2, step 3 is nan; the first value that is infinite or no number is in {where}; " in str(e.value).replace("inf;", "nan;"), e.value
    remedy = "mend the data" if where == "the pictures" else "lower lr" if not where.endswith("var") else "lower lr, warmup_epochs"
    assert remedy in str(e.value)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (saved["epoch"], saved["batch"]) == ((1, 1) if where.endswith("var") else (1, 0)) and all(v.isfinite().all() for v in saved["model"].values() if v.is_floating_point())
    monkeypatch.undo()
    assert len(fit(net(seed=9), few, cfg, folder=tmp_path, resume=True, progress=False)) == 3       # the good checkpoint is one


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), RuntimeError("[enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."),
                                   RuntimeError("[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 8 bytes."), MemoryError()], ids=["cuda", "linux", "windows", "python"])
def test_memory_that_is_full_says_what_to_change(error, few, tmp_path, cli, monkeypatch):
    from resnet_course import training
    def full(*a, **k): raise error
    monkeypatch.setattr(training, "_part", full)
    with pytest.raises(MemoryError) as e: fit(net(), few, TrainingConfig(epochs=1), folder=tmp_path / "fit", progress=False)
    assert str(e.value).startswith("out of memory; lower batch_size (32), set accumulate (1) to 2 or more, or lower eval_batch_size (")
    code, said = cli("train", lives.config(tmp_path), "--run", tmp_path / "run", "--quiet")
    assert code == 2 and said.startswith("resnet-course: out of memory; lower batch_size (32)"), said


def test_the_advice_for_full_memory_gives_the_same_training(few):
    "accumulate=2 takes less memory; the first steps' losses are those of whole batches but for BatchNorm, which sees halves"
    losses = []
    for n in 1, 2: losses.append(fit(net(), few, TrainingConfig(epochs=1, lr=0.01, accumulate=n), progress=False)[0]["train_loss"])
    assert abs(losses[0] - losses[1]) < 0.3


def test_a_folder_of_fit_belongs_to_one_training(few, tmp_path):
    "A second call is told, as from another notebook"
    cfg = TrainingConfig(epochs=1, lr=0.05)
    with core.hold_folder(tmp_path), pytest.raises(core.ConfigError, match="another process is training here"): fit(net(), few, cfg, folder=tmp_path, progress=False)
    assert len(fit(net(), few, cfg, folder=tmp_path, progress=False)) == 1


@pytest.mark.parametrize("workers", [0, 2])
def test_the_same_seed_gives_the_same_weights(workers, tmp_path, full):
    "From memory, from files, and with worker processes: the same bits; another seed: others"
    if workers == 2 and not full: pytest.skip("in the full form; tests/test_workers.py compares the batches")
    import numpy as np
    from PIL import Image
    drawn = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        for i in range(20): Image.fromarray(drawn.integers(0, 256, (26, 24, 3), dtype=np.uint8)).save(tmp_path / kind / f"{i}.png")
    cfg = LoaderConfig(folder=str(tmp_path), image_size=16, batch_size=8, val_fraction=0.2, pad_crop=2, flip=True, device="cpu", in_memory=True)
    def weights(seed=0, **how):
        loaders = create_folder_loaders(cfg.model_copy(update=dict(seed=seed, **how))); torch.manual_seed(seed); model = create_model("resnet20", widths=(4, 8, 16), num_classes=2)
        fit(model, loaders, TrainingConfig(epochs=2, lr=0.05), progress=False)
        return torch.cat([v.flatten().double() for v in model.state_dict().values()])
    first = weights()
    assert torch.equal(first, weights(in_memory=False, num_workers=workers)) and not torch.equal(first, weights(seed=1))
