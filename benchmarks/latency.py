"""How long an explorer takes to answer: from a control that moves to the picture that is handed to the browser.

    python benchmarks/latency.py [--moves 60] [--out benchmarks/latency.json]      (and latency.md beside it)

Every control is moved at random, each by itself; what a network needs on its first call counts too. Milliseconds, on an
otherwise idle machine: they depend on it, and stand here to be compared with the limits, not with other machines.
"""
import argparse, json, sys, time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LIMITS = dict(block=200, network=200, convolution=200, depth=200, augmentation=200, threshold=200, confusion=200, gradcam=1000, lesion=None)   # p95, ms


def other_value(knob, rng):
    "A value that the control does not have now."
    if hasattr(knob, "options"): values = [v for v in knob.options if v != knob.value]
    elif hasattr(knob, "max"): values = [v for v in np.arange(knob.min, knob.max + knob.step / 2, knob.step).tolist() if abs(v - knob.value) > knob.step / 2]
    else: values = [not knob.value]
    return values[int(rng.integers(len(values)))]


def measure(explorer, moves, rng):
    "Milliseconds of so many moves."
    panel, took = explorer.panel(), []
    knobs = [k for name, k in panel.knobs.items() if name != "photo"]
    while len(took) < moves:
        knob = knobs[int(rng.integers(len(knobs)))]
        value = type(knob.value)(other_value(knob, rng))
        start = time.perf_counter()
        knob.value = value
        took.append(1000 * (time.perf_counter() - start))
    return took


def main():
    "Measure all, print the table, write it; 1 if a limit was missed."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=60); parser.add_argument("--only", default="", help=f"one explorer: {', '.join(LIMITS)}")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    from resnet_course.core import describe_machine
    from resnet_course.gallery import EXPLORERS
    from resnet_course.style import use_style
    use_style()
    machine, results, lines = describe_machine(), {}, []
    def say(line): lines.append(line); print(line, flush=True)
    say(f"{machine['cpu']} ({', '.join(machine['cpu_features']) or 'no vector extension known'}), {machine['threads']} threads, torch {machine['torch']}; {args.moves} moves of controls each\n")
    say("| explorer | half of the moves within, ms | 95 % within, ms | slowest, ms | limit for 95 %, ms |\n|---|---|---|---|---|")
    for name, limit in LIMITS.items():
        if args.only and name != args.only: continue
        took = measure(EXPLORERS[name](), args.moves, np.random.default_rng(0)); p50, p95 = np.percentile(took, (50, 95))
        results[name] = dict(p50=p50, p95=p95, slowest=max(took), limit=limit)
        say(f"| {name} | {p50:.0f} | {p95:.0f} | {max(took):.0f} | {limit or ''} |")
    if args.out:
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
        args.out.write_text(json.dumps(dict(machine=machine, moves=args.moves, results=results), indent=1) + "\n", encoding="utf-8")
    missed = [name for name, r in results.items() if r["limit"] and r["p95"] > r["limit"]]
    for name in missed: print(f"missed: {name}")
    return 1 if missed else 0


if __name__ == "__main__": sys.exit(main())
