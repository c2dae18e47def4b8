"""What becomes of a training on several processes when something breaks: `python benchmarks/faults.py`, a few minutes on two cores.

Each case is a training by `torchrun` in which one thing goes wrong once. Afterwards its weights are compared with those of a
training that was left alone. The cases are tests, too (tests/test_distributed.py). Linux only: signals, mounts, network namespaces.
"""
import argparse, contextlib, hashlib, json, os, signal, subprocess, sys, tempfile, time
from pathlib import Path

CONFIG = """
name: tiny
data: {dataset: embedded, batch_size: 32, limit: 320, eval_limit: 50, pad_crop: 2, flip: true}
model: {name: resnet20, options: {widths: [4, 8, 16]}}
training: {epochs: 3, lr: 0.05, warmup_epochs: 1.0}
"""


# in a worker: what goes wrong, once

def inject(fault, mark):
    "Have this process fail at step 4 of epoch 2, or while it writes its second checkpoint; `mark` remembers that it did"
    from resnet_course import checkpoint, distributed, training
    count, replace_file, written = training.TrainState.count, checkpoint.replace_file, []
    here = lambda rank: distributed.rank() == rank and not mark.exists()

    def counted(state, step, seconds):
        count(state, step, seconds)
        if (state.epoch, state.batch) != (1, 4): return
        if fault == "straggler" and distributed.rank() == 1: mark.touch(); time.sleep(8)
        if fault == "kill" and here(1): mark.touch(); os.kill(os.getpid(), signal.SIGKILL)
        if fault == "hang" and here(1): mark.touch(); os.kill(os.getpid(), signal.SIGSTOP)
        if fault == "wait" and here(0): mark.touch(); time.sleep(6)           # long enough for somebody to pull the cable

    @contextlib.contextmanager
    def half_written(path):
        with replace_file(path) as tmp:
            yield tmp
            written.append(path)
            if fault == "kill_writing" and len(written) == 2 and here(0):
                os.truncate(tmp, os.path.getsize(tmp) // 2); mark.touch(); os.kill(os.getpid(), signal.SIGKILL)

    training.TrainState.count, checkpoint.replace_file = counted, half_written


# outside: trainings, and what is left of them

def launch(run, processes=2, fault="", restarts=1, timeout=60, prefix=(), extra=(), config=None, sharing=False):
    "A training by torchrun, as a process"
    config = config or write_config(run.parent)
    env = dict(os.environ, OMP_NUM_THREADS="1", FAULT=fault, FAULT_MARK=str(run.parent / f"{run.name}.mark"), RESNET_COURSE_TIMEOUT=str(timeout), CUDA_VISIBLE_DEVICES="", TORCH_CPP_LOG_LEVEL="ERROR", TORCH_DISABLE_SHARE_RDZV_TCP_STORE=str(int(not sharing)))
    where = extra or ["--standalone", f"--nproc-per-node={processes}"]
    return subprocess.Popen([*prefix, sys.executable, "-m", "torch.distributed.run", f"--max-restarts={restarts}", "--shutdown-timeout=3", *where, __file__, "train", str(config), "--folder", str(run), "--quiet"],
                            env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True)


def write_config(folder):
    folder.mkdir(parents=True, exist_ok=True)
    (path := folder / "tiny.yaml").write_text(CONFIG, encoding="utf-8")
    return path


def end(process, seconds=300):
    "(exit code, what it said); nothing of it goes on living"
    try: _, said = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired: said = "still running"
    finally:
        try: os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError: pass
    return process.returncode, said


def weights(run): return hashlib.sha256((run / "seed0" / "weights.safetensors").read_bytes()).hexdigest()
def lives(run): return (run / "log.txt").read_text(encoding="utf-8").count(" with 1 threads")
def last_loss(run): return float((run / "seed0" / "history.csv").read_text(encoding="utf-8").splitlines()[-1].split(",")[2])


def wait_for(condition, seconds=180):
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until: raise TimeoutError("nothing happened in time")
        time.sleep(0.05)


def survives(folder, undisturbed, fault, processes=2, **how):
    "One fault inside the training; torchrun alone is to deal with it"
    code, said = end(launch(run := folder / fault, processes, fault, **how))
    if code: return dict(finished=False, said=said[-2000:])
    return dict(finished=True, happened=(folder / f"{fault}.mark").exists(), lives=lives(run), equal=weights(run) == weights(undisturbed))


def fewer(folder, undisturbed):
    "One of two processes dies and is not replaced: one goes on alone"
    code, said = end(launch(run := folder / "fewer", 2, "kill", restarts=0))
    if not code: return dict(finished=False, said="the fault did not happen")
    code, said = end(launch(run, 1))
    if code: return dict(finished=False, said=said[-2000:])
    return dict(finished=True, happened="goes on with 1" in said, lives=lives(run), equal=weights(run) == weights(undisturbed), loss=last_loss(run), undisturbed_loss=last_loss(undisturbed))


def full_disk(folder, undisturbed):
    "The disk of the run folder fills up; room is made, and the same command given again"
    (disk := folder / "disk").mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", str(disk)], capture_output=True, text=True)
    if mounted.returncode: return dict(skipped=f"no right to mount a small disk ({mounted.stderr.strip()})")
    try:
        config, run = write_config(folder), disk / "run"
        first, said = end(launch(run, restarts=0, config=config))
        subprocess.run(["mount", "-o", "remount,size=20m", str(disk)], check=True)
        code, again = end(launch(run, config=config))
        if code: return dict(finished=False, said=again[-2000:])
        return dict(finished=True, happened=first != 0 and "no space left" in said.lower(), lives=lives(run), equal=weights(run) == weights(undisturbed))
    finally: subprocess.run(["umount", "-l", str(disk)], check=False)


def two_hosts(folder, undisturbed):
    "Two machines, joined by a cable that is pulled; the second one's agent dies and is started again, as a scheduler would"
    ip = lambda *words: subprocess.run(["ip", *words], capture_output=True, text=True)
    tag = f"rc{os.getpid() % 100000}"; a, b = f"{tag}a", f"{tag}b"
    try:
        steps = [ip("netns", "add", a), ip("netns", "add", b), ip("link", "add", f"{tag}v", "netns", a, "type", "veth", "peer", "name", f"{tag}v", "netns", b)]
        for host, address in ((a, "10.77.0.1"), (b, "10.77.0.2")):
            steps += [ip("-n", host, "addr", "add", f"{address}/24", "dev", f"{tag}v"), ip("-n", host, "link", "set", f"{tag}v", "up"), ip("-n", host, "link", "set", "lo", "up")]
        if bad := next((s for s in steps if s.returncode), None): return dict(skipped=f"no right to make two network namespaces ({bad.stderr.strip()})")
        run = folder / "hosts"
        def agent(host, address, fault=""):
            extra = ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", "--rdzv-endpoint=10.77.0.1:29400", "--rdzv-id=tiny", f"--local-addr={address}", f"--rdzv-conf=is_host={int(host == a)},join_timeout=120,last_call_timeout=5"]
            return launch(run, fault=fault, restarts=5, timeout=8, prefix=["ip", "netns", "exec", host, "env", f"GLOO_SOCKET_IFNAME={tag}v"], extra=extra)
        first, second = agent(a, "10.77.0.1", "wait"), agent(b, "10.77.0.2", "wait")
        wait_for((folder / "hosts.mark").exists)
        ip("-n", b, "link", "set", f"{tag}v", "down")
        os.killpg(second.pid, signal.SIGKILL); second.wait(); time.sleep(12)       # longer than the processes wait for each other
        ip("-n", b, "link", "set", f"{tag}v", "up")
        second = agent(b, "10.77.0.2")
        code, said = end(first); end(second, 30)
        if code: return dict(finished=False, said=said[-2000:])
        return dict(finished=True, happened=True, lives=lives(run), equal=weights(run) == weights(undisturbed))
    finally:
        for host in (a, b): ip("netns", "del", host)


def cases(folder):
    "name: (what it is, a function that runs it); all with two processes of one machine unless it says otherwise"
    folder = Path(folder); undisturbed = folder / "undisturbed"
    code, said = end(launch(undisturbed))
    if code: raise RuntimeError(f"the undisturbed training failed:\n{said[:3000]}")
    return {
        "again": ("nothing; the same training again", lambda: survives(folder, undisturbed, "again")),
        "kill": ("a worker is killed (SIGKILL) inside an epoch", lambda: survives(folder, undisturbed, "kill")),
        "kill_writing": ("process 0 is killed while it writes a checkpoint", lambda: survives(folder, undisturbed, "kill_writing")),
        "straggler": ("a worker stands still for 8 seconds", lambda: survives(folder, undisturbed, "straggler", restarts=0)),
        "hang": ("a worker stands still for ever; the others wait 8 seconds", lambda: survives(folder, undisturbed, "hang", timeout=8)),
        "full_disk": ("the run folder's disk is full; room is made, the same command goes on", lambda: full_disk(folder, undisturbed)),
        "fewer": ("a worker is killed and not replaced: one process goes on", lambda: fewer(folder, undisturbed)),
        "two_hosts": ("two machines: the cable is pulled, one agent dies and comes back", lambda: two_hosts(folder, undisturbed)),
    }


def as_row(found):
    yes = lambda key: "-" if found.get(key) is None else "yes" if found[key] else "no"
    losses = f" (training loss {found['loss']:.4f}, undisturbed {found['undisturbed_loss']:.4f})" if "loss" in found else ""
    return f"| {found['what']} | {found.get('skipped') or yes('finished')} | {found.get('lives', '-')} x | {yes('equal')}{losses} |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where the figures go as JSON; a table goes beside it")
    args = parser.parse_args()
    from resnet_course.core import describe_machine
    rows = []
    with tempfile.TemporaryDirectory() as d:
        for name, (what, run) in cases(Path(d)).items():
            start = time.perf_counter(); found = run()
            rows.append(dict(case=name, what=what, seconds=round(time.perf_counter() - start), **found)); print(rows[-1], flush=True)
    table = "| what breaks | finished | begun | weights equal to an undisturbed training's |\n|---|---|---|---|\n" + "\n".join(map(as_row, rows))
    print(table)
    if args.out:
        args.out.write_text(json.dumps(dict(machine=describe_machine(), cases=rows), indent=1) + "\n", encoding="utf-8")
        args.out.with_suffix(".md").write_text(f"# Faults\n\n{__doc__.splitlines()[0]}\n\n{table}\n", encoding="utf-8")
    return any(not r.get("finished") and "skipped" not in r for r in rows)


if __name__ == "__main__":
    if "FAULT_MARK" in os.environ and "RANK" in os.environ:
        inject(os.environ["FAULT"], Path(os.environ["FAULT_MARK"]))
        from resnet_course.cli import main as command
        raise SystemExit(command())
    raise SystemExit(main())
