"""Speed and memory as ratios, both sides measured in turns in one run.

    python benchmarks/bench.py [--rounds 5] [--only batches] [--out benchmarks/results.json]      (and results.md beside it)

Each side is a process (benchmarks/sides.py) that computes only when it is its turn; the first round of each warms up and does
not count. A ratio is taken round by round, so that a machine that slows down in between slows both sides; the table gives its
median and its range, and the memory that each side took beyond its pictures.
"""
import argparse, json, statistics, subprocess, sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

COMPARISONS = [  # name, ours, theirs, the ratio we promise, where the promise holds
    ("batches", "batches", "torchvision-0", 5, ""),
    ("batches", "batches", "torchvision-2", 5, ""),
    ("epoch", "fit-resnet18", "bare-resnet18", 0.97, ""),
    ("epoch", "fit-resnet20", "bare-resnet20", 0.95, ""),
    ("recipe", "fit-resnet20", "plain-resnet20", 2, "amx"),
    ("recipe", "fit-resnet50", "plain-resnet50", 2, "amx"),
    ("memory", "fit-resnet20", "fit-returning-resnet20", None, ""),
    ("compile", "fit-compiled-resnet20", "fit-resnet20", None, ""),
    ("surface", "surface", "surface-plain", 3, "amx"),
    ("gradcam", "gradcam", "gradcam-library", 2.5, ""),
    ("gradcam", "gradcam-stages", "gradcam-stages-library", 2.5, ""),
]


class Side:
    "One side, waiting for its turn."
    def __init__(self, name):
        self.name = name
        self.process = subprocess.Popen([sys.executable, str(HERE / "sides.py"), name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)

    def round(self):
        self.process.stdin.write("\n"); self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line: raise RuntimeError(f"{self.name} ended before its round did")
        return json.loads(line)

    def close(self): self.process.stdin.close(); self.process.wait()


def compare(ours, theirs, rounds):
    "Take turns; the ratio of every round, and each side's speed and memory."
    sides = [Side(ours), Side(theirs)]
    try:
        for s in sides: s.round()
        turns = [[s.round() for s in (sides if i % 2 else sides[::-1])][::1 if i % 2 else -1] for i in range(rounds)]
    finally:
        for s in sides: s.close()
    speed = lambda k: statistics.median(t[k]["images_per_second"] for t in turns)
    ratios = [t[0]["images_per_second"] / t[1]["images_per_second"] for t in turns]
    return dict(ours=ours, theirs=theirs, images_per_second=[speed(0), speed(1)], ratio=statistics.median(ratios), ratios=ratios,
                memory_mib=[turns[-1][k]["memory_mib"] for k in (0, 1)])


def row(r):
    "A line of the table."
    a, b = r["images_per_second"]; m, n = (f"{v:,.0f}" if v is not None else "?" for v in r["memory_mib"])
    promise = "" if r["at_least"] is None else f"{r['at_least']}" + (f" with {r['where'].upper()}" if r["where"] else "")
    return f"| {r['ours']} | {r['theirs']} | {a:,.0f} | {b:,.0f} | **{r['ratio']:.2f}** ({min(r['ratios']):.2f} to {max(r['ratios']):.2f}) | {promise} | {m} / {n} |"


def main():
    "Run the comparisons, print the table, write the JSON; 1 if a promise that holds on this machine was not kept."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5); parser.add_argument("--only", default="", help="one comparison: batches, epoch, recipe, memory, compile, surface or gradcam")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from resnet_course.core import describe_machine
    machine, results, lines = describe_machine(), [], []
    def say(line): lines.append(line); print(line, flush=True)
    say(f"{machine['cpu']} ({', '.join(machine['cpu_features']) or 'no vector extension known'}), {machine['threads']} threads, {machine['device']}, torch {machine['torch']}; median and range of {args.rounds} rounds\n")
    say("| ours | theirs | ours, images/s | theirs, images/s | ratio (range) | at least | memory, MiB |\n|---|---|---|---|---|---|---|")
    for name, ours, theirs, at_least, where in COMPARISONS:
        if args.only and name != args.only: continue
        results.append(dict(comparison=name, at_least=at_least, where=where, **compare(ours, theirs, args.rounds)))
        say(row(results[-1]))
    if args.out:
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        args.out.write_text(json.dumps(dict(machine=machine, rounds=args.rounds, results=results), indent=1) + "\n", encoding="utf-8")
    missed = [r for r in results if r["at_least"] and (not r["where"] or r["where"] in machine["cpu_features"]) and r["ratio"] < r["at_least"]]
    for r in missed: print(f"missed: {r['ours']} against {r['theirs']}: {r['ratio']:.2f}, promised {r['at_least']}")
    return 1 if missed else 0


if __name__ == "__main__": sys.exit(main())
