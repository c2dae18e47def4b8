"""What each step towards speed brings, how near the machine's limits a network comes, and how its cost grows.

    python benchmarks/steps.py [--rounds 5] [--only roofline,growth] [--out benchmarks/steps.json]      (and steps.md beside it)

Lesson 15 draws its figures from the file. The steps are taken one after the other on the same loop, each a process that
computes only when it is its turn (benchmarks/peers.py); a gain is the ratio to the line above it, round by round.
"""
import argparse, json, statistics, sys, time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
from compare import take_turns, title_of

STEPS = ["fp32, contiguous, pictures one by one", "channels_last", "bf16", "fused", "in memory", "kept", "compile"]
TITLES = {"channels_last": "channels last in memory", "bf16": "bf16 where it is safe (autocast)", "fused": "the optimizer's step in one pass (fused)",
          "in memory": "pictures in memory, augmented as whole batches", "kept": "freed memory kept for the next batch, but for large pieces", "compile": "compiled", "checkpointing": "compiled no more, and maps computed again in place of kept (checkpointing)"}


def steps(net, rounds):
    "One line per step: what was added, images/s of every round, memory, gain over the line above."
    lines = [[], *(STEPS[1:i + 1] for i in range(1, len(STEPS)))]
    specs = {STEPS[0] if not on else on[-1]: dict(task="step", peer="course", net=net, on=on) for on in lines}
    specs["checkpointing"] = dict(task="step", peer="course", net=net, on=[*STEPS[1:6], "checkpointing"])
    sides = take_turns(specs, rounds, sys.executable); out = []
    for name, side in sides.items():
        above = None if not out else out[-1] if name != "checkpointing" else out[-2]          # checkpointing and compilation are two ways on from the same line
        out.append(dict(step=name, **side, gain=None if above is None else [a / b for a, b in zip(side["per_second"], above["per_second"])]))
    return out


def growth(repeats=5):
    "Seconds of a training step while one thing grows and the rest stays: of a ResNet-20, batch 64, 32 px, by fit's own settings."
    import torch
    from torch.nn import functional as F
    from resnet_course.resnet import count_macs, create_model
    from resnet_course.speed import keep_memory
    from resnet_course.training import TrainingConfig, make_optimizer, pick_precision
    keep_memory(); precision, cases = pick_precision(device="cpu"), []
    def case(what, value, name="resnet20", batch=64, size=32, **options):
        model = precision.place(create_model(name, **options)).train()
        cases.append(dict(what=what, value=value, macs=batch * count_macs(create_model(name, **options), size), run=(model, make_optimizer(model, TrainingConfig()), torch.randn(batch, 3, size, size), torch.arange(batch) % 10), seconds=[]))
    for name in ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"): case("depth", int(name[6:]), name)
    for k in (1, 2, 3, 4): case("width", k, widths=(16 * k, 32 * k, 64 * k))
    for size in (16, 24, 32, 48, 64): case("resolution", size, size=size)
    for batch in (8, 16, 32, 64, 128, 256): case("batch", batch, batch=batch)
    for turn in range(repeats + 1):
        for c in cases:
            model, optimizer, x, y = c["run"]; start = time.perf_counter(); optimizer.zero_grad()
            with precision.autocast(): logits = model(x)
            F.cross_entropy(logits.float(), y).backward(); optimizer.step()
            if turn: c["seconds"].append(time.perf_counter() - start)
    return [{k: v for k, v in c.items() if k != "run"} for c in cases]


def roofline():
    "Peaks of this machine, and every layer of a ResNet-50 at 224 px on its way forward."
    import torch
    from resnet_course.resnet import create_model
    from resnet_course.roofline import layer_costs, matrix_peak, memory_rate
    from resnet_course.speed import keep_memory
    from resnet_course.training import pick_precision
    keep_memory(); precision = pick_precision(device="cpu"); model = precision.place(create_model("resnet50")).train()
    costs = layer_costs(model, torch.randn(16, 3, 224, 224), precision=precision)
    return dict(net="ResNet-50 at 224 px, batches of 16, forward", precision=str(precision), peak={str(t).removeprefix("torch."): matrix_peak(t, seconds=1.0) for t in (torch.float32, torch.bfloat16)},
                memory_rate=memory_rate(), layers=[c._asdict() for c in costs])


def tables(out):
    "Lines of Markdown."
    machine = out["machine"]
    yield f"{machine['cpu']} ({', '.join(machine['cpu_features'])}), {machine['threads']} threads, torch {machine['torch']}; median and range of the rounds"
    for net, lines in out.get("steps", {}).items():
        yield f"\n### {title_of(net)}, {len(lines[0]['per_second'])} rounds\n\n| step | images/s | times the line above (range) | memory, MiB |\n|---|---|---|---|"
        for s in lines:
            gain = f"**{statistics.median(s['gain']):.2f}** ({min(s['gain']):.2f} to {max(s['gain']):.2f})" if s["gain"] else ""
            yield f"| {TITLES.get(s['step'], s['step'])} | {statistics.median(s['per_second']):,.0f} | {gain} | {s['memory_mib'] or 0:,.0f} |"
    if r := out.get("roofline"):
        flops, seconds = (sum(c[k] for c in r["layers"]) for k in ("flops", "seconds"))
        yield f"\n### {r['net']}\n\n{r['precision']}: {flops / seconds / 1e9:,.0f} GFLOP/s over all layers; at most " + ", ".join(f"{v / 1e9:,.0f} in {k}" for k, v in r["peak"].items()) + f"; memory {r['memory_rate'] / 1e9:.1f} GB/s."


def main():
    "Measure, print the tables, write both files."
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5); parser.add_argument("--out", type=Path)
    parser.add_argument("--only", default="steps,roofline,growth", help="parts, with commas; the others stay in the file as they are"); args = parser.parse_args()
    from resnet_course.core import describe_machine
    out = json.loads(args.out.read_text(encoding="utf-8")) if args.out and args.out.exists() else {}
    out["machine"], parts = describe_machine(), args.only.split(",")
    if "steps" in parts: out["steps"] = {net: steps(net, args.rounds if net == "resnet20" else min(args.rounds, 3)) for net in ("resnet20", "resnet18")}
    if "roofline" in parts: out["roofline"] = roofline()               # after the steps: on Linux a child begins with its parent's largest memory
    if "growth" in parts: out["growth"] = growth()
    print("\n".join(tables(out)))
    if args.out:
        args.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8"); args.out.with_suffix(".md").write_text("\n".join(tables(out)) + "\n", encoding="utf-8")


if __name__ == "__main__": main()
