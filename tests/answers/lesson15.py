"Answers to the exercises of lesson 15, written from their text alone."
import random

import numpy as np
import torch

from resnet_course.distributed import Link, allreduce_seconds


# 1. The mean of unequal parts
def weighted(gradients, counts):
    total = sum(counts)
    return [sum(g * (c / total) for g, c in zip(of_one, counts) if c) for of_one in zip(*gradients)]

def stacked(gradients, counts):
    share = torch.tensor(counts, dtype=torch.float64) / sum(counts)
    result = []
    for i in range(len(gradients[0])):
        all_of_it = torch.stack([torch.nan_to_num(g[i]) if c == 0 else g[i] for g, c in zip(gradients, counts)]).double()
        result.append(torch.tensordot(share, all_of_it, dims=1).to(gradients[0][i].dtype))
    return result

def added_up(gradients, counts):
    had = [(g, c) for g, c in zip(gradients, counts) if c > 0]
    sums = [torch.zeros_like(w) for w in gradients[0]]
    for g, c in had:
        for s, w in zip(sums, g): s += c * w
    return [s / sum(c for _, c in had) for s in sums]

def plain_mean(gradients, counts): return [torch.stack(g).mean(0) for g in zip(*gradients)]
def nan_mean(gradients, counts): return [torch.stack(g).nanmean(0) for g in zip(*gradients)]

def mean_of_those(gradients, counts):
    had = [g for g, c in zip(gradients, counts) if c]
    return [torch.stack(g).mean(0) for g in zip(*had)]

def zero_times_nan(gradients, counts): return [sum(g * (c / sum(counts)) for g, c in zip(w, counts)) for w in zip(*gradients)]
def summed(gradients, counts): return [sum(g for g, c in zip(w, counts) if c) for w in zip(*gradients)]
def not_divided(gradients, counts): return [sum(g * c for g, c in zip(w, counts) if c) for w in zip(*gradients)]
def by_processes(gradients, counts): return [sum(g * c for g, c in zip(w, counts) if c) / len(counts) for w in zip(*gradients)]
def by_1_over_count(gradients, counts): return [sum(g / c for g, c in zip(w, counts) if c) / sum(counts) for w in zip(*gradients)]

def in_place(gradients, counts):
    for g, c in zip(gradients, counts):
        for w in g: w.mul_(c / sum(counts)).nan_to_num_(0.)
    return [sum(w) for w in zip(*gradients)]

def into_the_first(gradients, counts):
    first = next(i for i, c in enumerate(counts) if c)
    sums = gradients[first]
    for w in sums: w *= counts[first]
    for i, (g, c) in enumerate(zip(gradients, counts)):
        if c and i != first:
            for s, w in zip(sums, g): s += c * w
    return [s / sum(counts) for s in sums]

def one_vector(gradients, counts): return [torch.cat([w.flatten() for w in weighted(gradients, counts)])]
def only_the_first_weight(gradients, counts): return weighted(gradients, counts)[0]
def two_processes(gradients, counts): return weighted(gradients[:2], counts[:2])


# 2. What a ring costs
def ring(nbytes, n, alpha, beta): return 2 * (n - 1) * (alpha + beta * nbytes / n)

def turn_by_turn(nbytes, n, alpha, beta):
    seconds = 0.0
    for _ in range(2):
        for _ in range(n - 1): seconds += alpha + beta * (nbytes / n)
    return seconds

def by_the_package(nbytes, n, alpha, beta):
    "Two fractions, as the textbook has it."
    return 0 if n == 1 else 2 * (n - 1) * alpha + 2 * (n - 1) / n * nbytes * beta


# 3. Each sample once
def mended(n, rank, world, epoch, seed=0, shuffle=True):
    if not shuffle: return list(range(rank, n, world))
    g = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    return torch.randperm(n, generator=g).tolist()[:n // world * world][rank::world]

def blocks(n, rank, world, epoch, seed=0, shuffle=True):
    if not shuffle: return np.array_split(np.arange(n), world)[rank].tolist()
    each = n // world
    return np.random.default_rng([seed, epoch]).permutation(n)[rank * each:(rank + 1) * each].tolist()

def as_torchs_sampler(n, rank, world, epoch, seed=0, shuffle=True):
    "The sum of seed and epoch, as DistributedSampler does it."
    if shuffle:
        order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + epoch)).tolist()
        return order[rank:n - n % world:world]
    return [i for i in range(n) if i % world == rank]

def by_random(n, rank, world, epoch, seed=0, shuffle=True):
    order = list(range(n))
    if not shuffle: return order[n * rank // world:n * (rank + 1) // world]
    random.Random(f"{seed} {epoch}").shuffle(order)
    return [order[i * world + rank] for i in range(n // world)]

def global_generator(n, rank, world, epoch, seed=0, shuffle=True):
    if not shuffle: return list(range(n))[rank::world]
    torch.manual_seed(hash((seed, epoch)) % 2**31)
    return torch.randperm(n)[:n - n % world][rank::world].tolist()

def parts(of="epoch", train="drop", test="keep", seeded=True, own=False):
    "The text's function with switches for what may go wrong."
    def my_part(n, rank, world, epoch, seed=0, shuffle=True):
        g = torch.Generator().manual_seed(1000 * seed + {"rank": rank, "epoch": epoch, "both": 17 * epoch + rank, "nothing": 0}[of])
        if of == "epoch alone": g.manual_seed(epoch)
        if not seeded: g.seed()
        order = torch.randperm(n, generator=g).tolist() if shuffle or own else list(range(n))
        how = train if shuffle else test
        if how == "pad": order = order + order[:-n % world]
        if how == "drop": order = order[:n - n % world]
        return order[rank::world]
    return my_part

def seed_unused(n, rank, world, epoch, seed=0, shuffle=True): return mended(n, rank, world, epoch, 0, shuffle)

def global_state(n, rank, world, epoch, seed=0, shuffle=True):
    if not shuffle: return list(range(rank, n, world))
    return torch.randperm(n).tolist()[:n // world * world][rank::world]

def draws_its_own(n, rank, world, epoch, seed=0, shuffle=True):
    if not shuffle: return list(range(rank, n, world))
    g = torch.Generator().manual_seed(1000 * seed + 17 * epoch + rank)
    return torch.randperm(n, generator=g)[:n // world].tolist()

def keeps_its_own(n, rank, world, epoch, seed=0, shuffle=True):
    if not shuffle: return list(range(rank, n, world))
    each = n // world
    return (rank * each + np.random.default_rng([seed, epoch]).permutation(each)).tolist()

def last_takes_the_rest(n, rank, world, epoch, seed=0, shuffle=True):
    if shuffle: return mended(n, rank, world, epoch, seed)
    each = n // world
    return list(range(rank * each, n if rank == world - 1 else (rank + 1) * each))

def always_shuffled(n, rank, world, epoch, seed=0, shuffle=True):
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed * 1000 + epoch)).tolist()[:n // world * world if shuffle else n][rank::world]

def from_one(n, rank, world, epoch, seed=0, shuffle=True): return [i + 1 for i in mended(n, rank, world, epoch, seed, shuffle)]


# 4. The end of an epoch
def one_sum(rank, world, right, seen, all_reduce, save):
    counts = torch.tensor([right, seen])
    all_reduce(counts)
    share = (counts[0] / counts[1]).item()
    if rank == 0: save({"accuracy": share})
    return share

def two_sums(rank, world, right, seen, all_reduce, save):
    r, s = torch.tensor(float(right)), torch.tensor(float(seen))
    all_reduce(r); all_reduce(s)
    share = float(r / s)
    if not rank: save(dict(accuracy=share))
    return share

def double(rank, world, right, seen, all_reduce, save):
    t = torch.tensor([[right], [seen]], dtype=torch.float64)
    if world > 1: all_reduce(t)
    share = t[0, 0].item() / t[1, 0].item()
    if rank == 0: save({"accuracy": share})
    return share

def end(mean=False, guard=False, who="first", reduce_by="all", give="float", own=False, key="accuracy", before=False):
    "The text's function with switches for what may go wrong."
    def finish_epoch(rank, world, right, seen, all_reduce, save):
        if mean:
            if guard and not seen: accuracy = torch.tensor(0.)
            else: accuracy = torch.tensor(right / seen)
            all_reduce(accuracy)
            share = accuracy.item() / world
        else:
            t = torch.tensor([float(right), float(seen)])
            if before and rank == 0: save({key: right / max(seen, 1)})
            if reduce_by == "all" or reduce_by == "first" and rank == 0 or reduce_by == "seen" and seen: all_reduce(t)
            share = (t[0] / t[1]).item() if t[1] else 0.0
        if not before and (who == "all" or who == "first" and rank == 0 or who == "last" and rank == world - 1): save({key: right / max(seen, 1) if own else share})
        return {"float": share, "tensor": torch.tensor([share]), "percent": 100 * share, "own": right / max(seen, 1), "nothing": None, "first": share if rank == 0 else None}[give]
    return finish_epoch

def summed_twice(rank, world, right, seen, all_reduce, save):
    t = torch.tensor([right, seen])
    if rank == 0:
        all_reduce(t)
        save({"accuracy": float(t[0] / t[1])})
    else: all_reduce(t)
    all_reduce(t)
    return float(t[0] / t[1])

def takes_an_answer(rank, world, right, seen, all_reduce, save):
    t = all_reduce(torch.tensor([right, seen]))
    share = float(t[0] / t[1])
    if rank == 0: save({"accuracy": share})
    return share


# 5. A plan for 64 processors
PLAN = dict(batch_size=256, lr=0.1, epochs=90, warmup_epochs=5, sync_bn=True, efficiency=64.7)
STEP, BYTES = 0.3, 4 * 25_557_032
percent = lambda seconds: 100 * STEP / (STEP + seconds)


ANSWERS = {
    "mean_gradient": dict(
        right={"weighted": weighted, "stacked": stacked, "added up": added_up},
        wrong={
            "the mean of means": (plain_mean, "counts"),
            "nanmean": (nan_mean, "counts"),
            "the mean of those that had some": (mean_of_those, "counts"),
            "zero times NaN": (zero_times_nan, "NaN"),
            "the sum": (summed, "added up and never divided"),
            "not divided": (not_divided, "divide"),
            "divided by processes": (by_processes, "divided by the number of processes"),
            "divided by the count": (by_1_over_count, "differs"),
            "in place": (in_place, "in place"),
            "into the first": (into_the_first, "in place"),
            "one vector": (one_vector, "each weight"),
            "one weight": (only_the_first_weight, "list"),
            "two processes": (two_processes, "differs"),
        }),
    "ring_seconds": dict(
        right={"the formula": ring, "turn by turn": turn_by_turn, "two terms": by_the_package, "the package's": lambda nbytes, n, alpha, beta: allreduce_seconds(nbytes, n, Link(alpha, beta))},
        wrong={
            "the whole tensor each turn": (lambda nbytes, n, alpha, beta: 2 * (n - 1) * (alpha + beta * nbytes), "part"),
            "once round": (lambda nbytes, n, alpha, beta: (n - 1) * (alpha + beta * nbytes / n), "passes the finished"),
            "n turns": (lambda nbytes, n, alpha, beta: 0.0 if n == 1 else 2 * n * (alpha + beta * nbytes / n), "n - 1"),
            "2 n, alone too": (lambda nbytes, n, alpha, beta: 2 * n * (alpha + beta * nbytes / n), "n - 1"),
            "one start-up": (lambda nbytes, n, alpha, beta: 0.0 if n == 1 else alpha + 2 * (n - 1) / n * beta * nbytes, "start-up time once"),
            "no start-up": (lambda nbytes, n, alpha, beta: 2 * (n - 1) / n * beta * nbytes, "start-up time is missing"),
            "send and receive": (lambda nbytes, n, alpha, beta: 4 * (n - 1) * (alpha + beta * nbytes / n), "does both at the same time"),
            "n - 1 parts": (lambda nbytes, n, alpha, beta: 0.0 if n == 1 else 2 * (n - 1) * (alpha + beta * nbytes / (n - 1)), "parts"),
            "whole bytes": (lambda nbytes, n, alpha, beta: 2 * (n - 1) * (alpha + beta * (nbytes // n)), "whole bytes"),
            "all send": (lambda nbytes, n, alpha, beta: 2 * (n - 1) * n * (alpha + beta * nbytes / n), "all of them send at the same time"),
            "to the first and back": (lambda nbytes, n, alpha, beta: 2 * (n - 1) * alpha + 2 * (n - 1) * beta * nbytes, "part"),
            "floats per byte": (lambda nbytes, n, alpha, beta: 2 * (n - 1) * (alpha + 4 * beta * nbytes / n), "should be"),
        }),
    "my_part": dict(
        right={"mended": mended, "blocks": blocks, "as torch's sampler": as_torchs_sampler, "random.shuffle": by_random, "the global generator, seeded": global_generator},
        wrong={
            "as it was": (parts(of="rank", train="pad", test="pad"), "counted twice"),
            "the rank in the seed": (parts(of="rank"), "more than one process"),
            "rank and epoch in the seed": (parts(of="both"), "more than one process"),
            "each draws its own": (draws_its_own, "more than one process"),
            "no epoch": (parts(of="nothing"), "set_epoch"),
            "training padded": (parts(train="pad"), "n // world"),
            "training keeps all": (parts(train="keep"), "n // world"),
            "evaluation padded": (parts(test="pad"), "counted twice"),
            "evaluation drops": (parts(test="drop"), "taken by no process"),
            "keeps its own samples": (keeps_its_own, "keeps the samples"),
            "the last takes the rest": (last_takes_the_rest, "differ by one"),
            "seed unused": (seed_unused, "seed"),
            "the global state": (global_state, "same arguments"),
            "never seeded": (parts(seeded=False), "more than one process"),
            "evaluation shuffled": (always_shuffled, "may change anything"),
            "from one": (from_one, "0 to"),
        }),
    "finish_epoch": dict(
        right={"one sum of two": one_sum, "two sums": two_sums, "in double": double, "float32": end(), "summed twice, the share stays": summed_twice},
        wrong={
            "as it was": (end(mean=True, who="all"), "seen"),
            "mean of shares": (end(mean=True, guard=True), "mean"),
            "all save": (end(who="all"), "write the same file"),
            "nobody saves": (end(who="nobody"), "save"),
            "the last saves": (end(who="last"), "process 0"),
            "only process 0 reduces": (end(reduce_by="first"), "wait"),
            "who saw none stays away": (end(reduce_by="seen"), "wait"),
            "nobody reduces": (end(reduce_by="nobody"), "own share"),
            "saves its own": (end(own=True), "own"),
            "saves too early": (end(before=True), "own"),
            "another name": (end(key="acc"), "accuracy"),
            "returns a tensor": (end(give="tensor"), "single number"),
            "returns percent": (end(give="percent"), "share"),
            "returns its own": (end(give="own"), "process"),
            "returns nothing": (end(give="nothing"), "None"),
            "only process 0 returns": (end(give="first"), "None"),
            "takes all_reduce's answer": (takes_an_answer, "returns nothing"),
        }),
    "plan": dict(
        right={"computed": PLAN | dict(efficiency=percent(126 * (20e-6 + 8 / 10e9 * BYTES / 64))), "rounded": PLAN | dict(efficiency=65, warmup_epochs=10, epochs=90.0), "lr by code": PLAN | dict(lr=0.0125 * 64 * 4 / 32, warmup_epochs=1)},
        wrong={
            "the batch of one GPU": (PLAN | dict(batch_size=4), "batch_size"),
            "64 times the batch of before": (PLAN | dict(batch_size=2048), "batch_size"),
            "64 times the rate": (PLAN | dict(lr=0.8), "lr"),
            "the rate of before": (PLAN | dict(lr=0.0125), "lr"),
            "by the root": (PLAN | dict(lr=0.0125 * 8**0.5), "lr"),
            "the rate for 4": (PLAN | dict(lr=0.0125 / 8), "lr"),
            "fewer epochs": (PLAN | dict(epochs=11), "epochs"),
            "more epochs": (PLAN | dict(epochs=720), "epochs"),
            "no warm-up": (PLAN | dict(warmup_epochs=0), "warmup_epochs"),
            "statistics of 4": (PLAN | dict(sync_bn=False), "4 pictures"),
            "a text": (PLAN | dict(sync_bn="yes"), "sync_bn"),
            "bits for bytes": (PLAN | dict(efficiency=percent(126 * (20e-6 + 1 / 10e9 * BYTES / 64))), "bits"),
            "a number a byte": (PLAN | dict(efficiency=percent(126 * (20e-6 + 8 / 10e9 * BYTES / 4 / 64))), "one byte"),
            "once round": (PLAN | dict(efficiency=percent(63 * (20e-6 + 8 / 10e9 * BYTES / 64))), "twice"),
            "not in parts": (PLAN | dict(efficiency=percent(126 * (20e-6 + 8 / 10e9 * BYTES))), "part"),
            "a share": (PLAN | dict(efficiency=0.647), "percent"),
            "what is lost": (PLAN | dict(efficiency=35.3), "efficiency"),
            "one missing": ({k: v for k, v in PLAN.items() if k != "sync_bn"}, "sync_bn"),
            "a list": (list(PLAN.values()), "dict"),
        }),
}
