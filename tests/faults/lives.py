"""Trainings of the command line that are killed, each a fork of this process, so that PyTorch is imported once."""
import contextlib, functools, json, os, signal, sys, traceback, zipfile
from pathlib import Path

CONFIG = """
name: tiny
data: {dataset: embedded, image_size: 16, batch_size: 32, limit: 120, eval_limit: 40, pad_crop: 2, flip: true}
model: {name: resnet20, options: {widths: [4, 8, 16]}}
training: {epochs: 4, lr: 0.05, warmup_epochs: 1.0}
"""


def config(folder):
    "The file of the small training, in a folder that is made"
    folder.mkdir(parents=True, exist_ok=True)
    if not (path := folder / "tiny.yaml").exists(): path.write_text(CONFIG, encoding="utf-8")
    return path


def fork(child):
    "Call child(writing end of a pipe) in a process of its own: (its id, the reading end)"
    import torch
    import resnet_course.experiment, resnet_course.transfer    # noqa: F401  (imported here once, and not in every child)
    sys.stdout.flush(); sys.stderr.flush()
    read, write = os.pipe()
    if pid := os.fork(): os.close(write); return pid, read
    code = 99
    try: os.close(read); torch.set_num_threads(1); code = child(write) or 0         # threads do not survive a fork
    except BaseException: traceback.print_exc()
    finally: sys.stderr.flush(); os._exit(code)


def train(run, said, save_every=0.0, fault=None):
    "`resnet-course train` into `run`, as a process: a byte comes through the pipe after each step. fault() breaks something in that process; what is said goes to the file `said`"
    def child(write):
        from resnet_course import experiment, training
        from resnet_course.cli import main
        sys.stdout = sys.stderr = open(said, "w", buffering=1, encoding="utf-8")
        count = training.TrainState.count
        def counted(state, step, seconds): count(state, step, seconds); os.write(write, b".")
        training.TrainState.count, experiment.fit = counted, functools.partial(experiment.fit, save_every=save_every)
        if fault: fault()
        return main(["train", str(config(Path(said).parent)), "--run", str(run), "--quiet"])
    return fork(child)


def end(pid, read):
    "Wait for it: the exit code, or minus the signal's number"
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(read)
    return code


def die(): os.kill(os.getpid(), signal.SIGKILL)


def die_in_write(number, part):
    "A fault: be killed in a checkpoint's write, when such a part of the file is written"
    from resnet_course import checkpoint
    replace_file, begun = checkpoint.replace_file, []
    @contextlib.contextmanager
    def half(path):
        begun.append(path)
        with replace_file(path) as tmp:
            yield tmp
            if len(begun) == number: os.truncate(tmp, int(part * os.path.getsize(tmp))); die()
    checkpoint.replace_file = half


def die_at_rename(number, after):
    "A fault: be killed before, or after, a file gets its name"
    replace, done = os.replace, []
    def renamed(a, b):
        done.append(b)
        if len(done) == number and not after: die()
        replace(a, b)
        if len(done) == number: die()
    os.replace = renamed


def check_whole(run):
    "Every file that has its name can be read to its end; how many there are"
    import torch
    from safetensors.torch import load_file
    from resnet_course.experiment import load_experiment
    from resnet_course.records import History
    files = [p for p in run.rglob("*") if p.is_file() and not p.name.startswith(".") and p.name != "log.txt"]
    for p in files:
        if p.suffix == ".pt":
            with zipfile.ZipFile(p) as z: assert z.testzip() is None, p
            torch.load(p, weights_only=True)
        elif p.suffix == ".safetensors": assert load_file(p), p
        elif p.suffix == ".json": assert json.loads(p.read_text(encoding="utf-8")), p
        elif p.suffix == ".csv": history = History.from_csv(p); assert [r["epoch"] for r in history] == list(range(1, len(history) + 1)) and all(set(r) == set(history[0]) for r in history), p
        elif p.suffix == ".yaml": load_experiment(p)
        else: raise AssertionError(f"{p}: what is it?")
    return len(files)


def result(run):
    "What a run comes to, without the times: bytes of the weights and of the answers, history, metrics"
    from resnet_course.records import History
    record = json.loads((run / "record.json").read_text(encoding="utf-8"))
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in History.from_csv(run / "seed0" / "history.csv")]
    return [(run / "seed0" / f"{name}.safetensors").read_bytes() for name in ("weights", "test", "val")], history, record["metrics"]
