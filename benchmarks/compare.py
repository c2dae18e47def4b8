"""The course beside what a reader would otherwise use: a plain loop, timm, Lightning and fastai, at their defaults and at their best.

    python benchmarks/compare.py [--rounds 5] [--only resnet18-best] [--out benchmarks/compare.json]      (and compare.md beside it)

The libraries get an environment of their own (benchmarks/.peers, made once by uv, with this machine's version of PyTorch).
Every side is a process that computes only when it is its turn (benchmarks/peers.py); all sides of a part take turns in one
run, the first round of each does not count, and a ratio is taken round by round, so that a machine that slows down slows all.
The interval is the range of the ratios: with 5 rounds it holds the true median in 94 runs of 100. With --only, parts of an
earlier run are kept in the file. Libraries at their defaults take long and are far away, so they get 3 rounds.
"""
import argparse, json, os, statistics, subprocess, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from peers import NETS

LIBRARIES = ("timm", "lightning", "fastai")
PEERS = ("plain", *LIBRARIES)
TITLES = dict(course="the course", plain="a plain loop", timm="timm", lightning="Lightning", fastai="fastai")
TARGETS = dict(defaults=2.0, best=1.0)
COMPARED = ("resnet18", "resnet50", "resnet50-224", "resnet101-224")
SETTINGS = {
    "defaults": "plain: fp32, contiguous, two workers, loss and accuracy read in every step. timm: fp32, four workers, its loader, schedule and meters, loss read in every step. "
                "Lightning: fp32, no worker, logger, checkpoints and progress on. fastai: fp32, two workers, its own SGD, metrics, progress on.",
    "both": "the networks, batches, augmentation and SGD are the same; at 224 px the others cut their pictures from stored ones of 256 px, the course, which keeps pictures as large as it trains on, from 224 px.",
    "best": "all: bf16, channels_last, PyTorch's fused SGD, pictures collated as bytes and normalised a batch at a time, no worker for loading, which was fastest for the plain loop and fastai; timm's loader has one, the least it takes (loading alone, two were faster). "
            "Lightning: nothing logged to files, no checkpoints, no progress. fastai: its bf16 is CUDA's alone, so the network brings its own autocast.",
}


def title_of(net):
    "What is trained, in words."
    name, side, _, batch, _ = NETS[net]
    return f"ResNet-{name.removeprefix('resnet')} at {side} px, batches of {batch}"


def parts():
    "name, title, the course's side, {side of others: its spec}, what the ratio is of, target."
    for net in COMPARED:
        for how in ("best", "defaults"):
            yield f"{net}-{how}", f"Training, {title_of(net)}, {'each at its best' if how == 'best' else 'each at its defaults'}", {p: dict(task="train", peer=p, net=net, best=how == "best") for p in ("course", *PEERS)}, "images/s", TARGETS[how]
    kinds = {"plain, floats": ("plain", "float", 0), "plain, floats, two workers": ("plain", "float", 2), "plain, transforms v2 on tensors": ("plain", "v2", 0), "plain, bytes": ("plain", "bytes", 0),
             "plain, bytes, two workers": ("plain", "bytes", 2), "timm, one worker": ("timm", "bytes", 1), "timm, two workers": ("timm", "bytes", 2),
             "fastai, no worker": ("fastai", "bytes", 0), "fastai, two workers": ("fastai", "bytes", 2)}
    yield "loaders", "Loading, pictures of 32 px, crops and mirror images, batches of 128", {"course": dict(task="load", peer="course", kind="", workers=0), **{k: dict(task="load", peer=p, kind=kind, workers=w) for k, (p, kind, w) in kinds.items()}}, "images/s", 1.0
    yield "evaluation", "Evaluation, ResNet-18 at 32 px, bf16, batches of 250", {p: dict(task="evaluate", peer=p) for p in ("course", *PEERS)}, "images/s", 1.0
    yield "checkpoints", "A checkpoint of ResNet-50 and its momentum, written and read", {p: dict(task="checkpoint", peer=p) for p in ("course", *PEERS)}, "times/s", 1.0
    yield "start", "From nothing to the first batch, imports included", {p: dict(task="start", peer=p) for p in ("course", *PEERS)}, "times/s", 1.0


def environment():
    "The Python of the libraries' environment, made if it is not there."
    folder = HERE / ".peers"; python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / "ready").exists():
        import torch, torchvision
        uv, versions = [sys.executable, "-m", "uv"], [f"{m.__name__}=={m.__version__.split('+')[0]}" for m in (torch, torchvision)]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *versions, *LIBRARIES], check=True)
        (folder / "ready").touch()
    return python


class Side:
    "One side, waiting for its turn."
    def __init__(self, spec, python):
        self.command = [str(python), str(HERE / "peers.py"), json.dumps(spec)]
        self.whole = spec["task"] == "start"                   # a process of its own for every round
        if not self.whole: self.process = self._open()

    def _open(self): return subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=HERE.parent)

    def round(self):
        if self.whole:
            start = time.perf_counter(); subprocess.run(self.command, check=True, stderr=subprocess.DEVNULL, cwd=HERE.parent)
            return dict(per_second=1 / (time.perf_counter() - start), memory_mib=None)
        self.process.stdin.write("\n"); self.process.stdin.flush()
        if not (line := self.process.stdout.readline()): raise RuntimeError(f"{self.command[-1]} ended before its round did; run it by hand")
        return json.loads(line)

    def close(self):
        if not self.whole: self.process.stdin.close(); self.process.wait(); self.process.stdout.close()


def take_turns(specs, rounds, peers_python):
    "Per side: speed of every round, and memory. The order turns round every time."
    sides = {}
    try:
        for name, spec in specs.items():
            sides[name] = Side(spec, sys.executable if spec["peer"] == "course" else peers_python); sides[name].round()
        turns = [{name: sides[name].round() for name in (list(sides) if i % 2 else list(sides)[::-1])} for i in range(rounds)]
    finally:
        for s in sides.values(): s.close()
    return {name: dict(per_second=[t[name]["per_second"] for t in turns], memory_mib=turns[-1][name]["memory_mib"]) for name in specs}


def table(result):
    "Lines of Markdown for one part."
    sides = result["sides"]; number = lambda v: "" if v is None else f"{v:,.0f}" if v >= 20 else f"{v:,.2f}"
    yield f"\n### {result['title']}\n"
    yield f"| | {result['unit']} | the course is so many times as fast (range) | memory, MiB |\n|---|---|---|---|"
    for name, s in sides.items():
        r = result["ratios"].get(name); told = f"**{statistics.median(r):.2f}** ({min(r):.2f} to {max(r):.2f})" if r else ""
        yield f"| {TITLES.get(name, name)} | {number(statistics.median(s['per_second']))} | {told} | {number(s['memory_mib'])} |"


def missed(result):
    "Sentences about what was promised and did not come."
    for name, r in result["ratios"].items():
        if max(r) < result["target"]: yield f"{result['title']}: {max(r):.2f} times {TITLES.get(name, name)} at most, promised {result['target']}"
    memory = {name: s["memory_mib"] for name, s in result["sides"].items() if s["memory_mib"] is not None}
    leanest = min(memory, key=memory.get, default=None)
    if leanest and memory["course"] > 1.01 * memory[leanest]: yield f"{result['title']}: {memory['course']:,.0f} MiB, promised no more than the leanest ({TITLES.get(leanest, leanest)}, {memory[leanest]:,.0f})"


def main():
    "Run the parts, print their tables, write both files after every part."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5); parser.add_argument("--only", default="", help=f"parts, with commas: {', '.join(dict.fromkeys(p[0] for p in parts()))}")
    parser.add_argument("--out", type=Path); args = parser.parse_args()
    from resnet_course.core import describe_machine
    python, machine, results = environment(), describe_machine(), []
    versions = dict(line.split("==") for line in subprocess.run([sys.executable, "-m", "uv", "pip", "freeze", "--python", str(python)], capture_output=True, text=True, check=True).stdout.split() if line.partition("==")[0] in (*LIBRARIES, "torch", "torchvision"))
    head = (f"{machine['cpu']} ({', '.join(machine['cpu_features'])}), {machine['threads']} threads, "
            + ", ".join(f"{k} {v}" for k, v in versions.items()) + f"; median and range of {args.rounds} rounds. Memory is the largest that the process took beyond what it had with its pictures loaded; loaders' workers are not counted.\n\n"
            + "\n\n".join(f"*{k.capitalize()}* — {v}" for k, v in SETTINGS.items()))
    print(head)
    if args.only and args.out and args.out.exists(): results = json.loads(args.out.read_text(encoding="utf-8"))["results"]
    for key, title, specs, unit, target in parts():
        if args.only and key not in args.only.split(","): continue
        rounds = min(args.rounds, 3) if key.endswith("-defaults") else args.rounds
        sides = take_turns(specs, rounds, python)
        result = dict(part=key, title=title, unit=unit, target=target, sides=sides,
                      ratios={k: [a / b for a, b in zip(sides["course"]["per_second"], s["per_second"])] for k, s in sides.items() if k != "course"})
        results = [r for r in results if r["part"] != key] + [result]; print("\n".join(table(result)), flush=True)
        if args.out:
            results.sort(key=lambda r: [p[0] for p in parts()].index(r["part"]))
            short, lines = [m for r in results for m in missed(r)], [head, *(line for r in results for line in table(r))]
            args.out.with_suffix(".md").write_text("\n".join([*lines, "\n### Promised and not kept\n", *([f"- {m}" for m in short] or ["Nothing."])]) + "\n", encoding="utf-8")
            args.out.write_text(json.dumps(dict(machine=machine, versions=versions, settings=SETTINGS, rounds=args.rounds, results=results), indent=1) + "\n", encoding="utf-8")
    return 1 if any(m for r in results for m in missed(r)) else 0


if __name__ == "__main__": sys.exit(main())
