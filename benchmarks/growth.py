"""Does anything grow while one trains and clicks? `python benchmarks/growth.py --minutes 10 --out benchmarks/growth.json`

Half of the time a small network is trained, over and over, with checkpoints, records and history; the other half, controls of
the explorers are moved at random. In between, memory, open files, threads and hooks are counted. The first fifth of each half is
for warming up: libraries are loaded, caches filled. After it, files, threads, hooks and figures may not grow at all, and the
memory that the process holds (RSS) not by more than TOLERANCE from its first third to its last. Modules are counted and not
judged: the explorers keep a bounded number of networks, and more of them are there until that is reached.
"""
import argparse, gc, json, shutil, statistics, sys, tempfile, threading, time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent)); sys.path.insert(0, str(Path(__file__).resolve().parent))

TOLERANCE = 0.03      # of RSS, or 10 MB, whichever is more
CLICKED = ("block", "network", "convolution", "depth", "augmentation", "threshold", "confusion", "gradcam", "lesion")


def counts():
    "What could grow, now"
    import matplotlib.pyplot as plt
    import torch
    gc.collect(); status = Path("/proc/self/status")
    rss = int(next(line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmRSS")).split()[1]) / 1024 if status.exists() else 0.0
    modules = [o for o in gc.get_objects() if issubclass(type(o), torch.nn.Module)]
    hooks = sum(len(getattr(m, kind)) for m in modules for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"))
    files = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").exists() else 0
    return dict(rss_mb=rss, files=files, threads=threading.active_count(), hooks=hooks, figures=len(plt.get_fignums()), modules=len(modules))


def trainings(folder):
    "Train, one run after the other; yields after each"
    from resnet_course.core import make_config
    from resnet_course.experiment import Experiment, run_experiment
    small = make_config(Experiment, dict(name="tiny", data=dict(dataset="embedded", image_size=16, batch_size=32, limit=120, eval_limit=40, pad_crop=2, flip=True),
                                         model=dict(name="resnet20", options=dict(widths=[4, 8, 16])), training=dict(epochs=4, lr=0.05)))
    while True: run_experiment(small, folder / "run", progress=False); shutil.rmtree(folder / "run"); yield


def clicks(folder):
    "Move controls of the explorers in turn; yields after each round"
    from latency import other_value
    from resnet_course.gallery import EXPLORERS
    rng = np.random.default_rng(0); panels = [EXPLORERS[name]().panel() for name in CLICKED]
    while True:
        for panel in panels:
            knobs = [k for name, k in panel.knobs.items() if name != "photo"]; knob = knobs[int(rng.integers(len(knobs)))]
            knob.value = type(knob.value)(other_value(knob, rng))
        yield


def watch(work, seconds, samples=60):
    "Repeat `work` for so long: (how often, [what was counted, and when])"
    start, rows, n = time.monotonic(), [], 0
    with tempfile.TemporaryDirectory() as folder:
        for _ in work(Path(folder)):
            n += 1; now = time.monotonic() - start
            if now >= len(rows) * seconds / samples: rows.append(dict(seconds=round(now, 1), done=n, **counts()))
            if now > seconds and len(rows) >= min(10, samples): return n, rows


def growth(rows):
    "What grew after the warm-up: {name: (before, after)}; empty where nothing did"
    rows = rows[len(rows) // 5:]; third = max(1, len(rows) // 3)
    middle = lambda name, part: statistics.median(r[name] for r in part)
    grown = {name: (a, b) for name in ("files", "threads", "hooks", "figures") if (b := middle(name, rows[-third:])) > (a := middle(name, rows[:third]))}
    a, b = middle("rss_mb", rows[:third]), middle("rss_mb", rows[-third:])
    return {**grown, **({"rss_mb": (a, b)} if b - a > max(10, TOLERANCE * a) else {})}


def table(found):
    lines = ["| what | how often | memory, MB: begin, after warm-up, end | files | threads | hooks | figures | grew |", "|---|---|---|---|---|---|---|---|"]
    for name, (n, rows) in found.items():
        warm, last = rows[len(rows) // 5], rows[-1]; spans = " | ".join(f"{warm[k]} to {last[k]}" for k in ("files", "threads", "hooks", "figures"))
        lines.append(f"| {name} | {n} | {rows[0]['rss_mb']:.0f}, {warm['rss_mb']:.0f}, {last['rss_mb']:.0f} | {spans} | {', '.join(growth(rows)) or 'nothing'} |")
    return "\n".join(lines)


def main():
    "Watch both, write what was seen; 1 if something grew."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10); parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    import matplotlib
    matplotlib.use("agg")
    from resnet_course.core import describe_machine
    found = {"trainings": watch(trainings, 30 * args.minutes), "rounds of clicks": watch(clicks, 30 * args.minutes)}
    print(shown := table(found))
    if args.out:
        args.out.write_text(json.dumps(dict(machine=describe_machine(), minutes=args.minutes, tolerance=TOLERANCE, watched={k: dict(n=n, rows=rows) for k, (n, rows) in found.items()}), indent=1) + "\n", encoding="utf-8")
        args.out.with_suffix(".md").write_text(f"# Growth\n\n{args.minutes:g} minutes of training and of explorers' clicks, in one process (`benchmarks/growth.py`). Files, threads, hooks and figures after the warm-up and at the end; memory may grow by {TOLERANCE:.0%}.\n\n{shown}\n", encoding="utf-8")
    return 1 if any(growth(rows) for _, rows in found.values()) else 0


if __name__ == "__main__": sys.exit(main())
