"""A real process, really killed: what no notebook cell can do to itself."""
import os, random, signal, subprocess, sys, time

import pytest
from safetensors.torch import load_file

CONFIG = """
name: tiny
data: {dataset: embedded, batch_size: 32, limit: 320, eval_limit: 100, pad_crop: 4, flip: true}
model: {name: resnet20, options: {widths: [4, 8, 16]}}
training: {epochs: 8, lr: 0.1, warmup_epochs: 0.5, label_smoothing: 0.1}
"""


def start(*args):
    "The command line in a process of its own, with one thread"
    env = dict(os.environ, OMP_NUM_THREADS="1")
    return subprocess.Popen([sys.executable, "-m", "resnet_course", "train", *map(str, args)], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process):
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err


def epochs_done(run):
    history = run / "seed0" / "history.csv"
    return len(history.read_text(encoding="utf-8").splitlines()) - 1 if history.exists() else 0


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "c.yaml").write_text(CONFIG, encoding="utf-8")
    finish(start(folder / "c.yaml", "--run", folder / "run"))
    return load_file(folder / "run" / "seed0" / "weights.safetensors")


def same(run, weights):
    found = load_file(run / "seed0" / "weights.safetensors")
    return found.keys() == weights.keys() and all(found[k].equal(weights[k]) for k in weights)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_kill_and_resume_gives_identical_weights(tmp_path, undisturbed):
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    run = tmp_path / "run"
    process = start(tmp_path / "c.yaml", "--run", run)
    for kills in (1, 2):  # at a moment somewhere after so many epochs
        wait_for(lambda kills=kills: epochs_done(run) >= kills, process)
        time.sleep(random.uniform(0, 0.3))
        process.kill(); process.wait()
        assert process.returncode == -signal.SIGKILL and not (run / "record.json").exists()
        process = start("--resume", run)
    finish(process)
    assert same(run, undisturbed)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_interrupt_stops_cleanly_and_says_how_to_go_on(tmp_path, undisturbed):
    (tmp_path / "c.yaml").write_text(CONFIG, encoding="utf-8")
    run = tmp_path / "run"
    process = start(tmp_path / "c.yaml", "--run", run)
    wait_for(lambda: epochs_done(run) >= 1, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 130 and f"resnet-course train --resume {run}" in err and "Traceback" not in err
    finish(start("--resume", run))
    assert same(run, undisturbed)
