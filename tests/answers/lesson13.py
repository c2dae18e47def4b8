"Answers to the exercises of lesson 13, written from their text alone."
import copy, random

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from resnet_course.contest import difference
from resnet_course.core import experiments_dir
from resnet_course.experiment import read_record


# 1. A body without its head
def loose_load(teacher, model):
    new = copy.deepcopy(model)
    new.load_state_dict({k: v for k, v in teacher.items() if not k.startswith("fc.")}, strict=False)
    return new

def merged(teacher, model):
    new = copy.deepcopy(model)
    own = new.state_dict()
    new.load_state_dict({k: own[k] if k.startswith("fc.") else teacher[k] for k in own})
    return new

@torch.no_grad()
def number_by_number(teacher, model):
    new = copy.deepcopy(model)
    for name, tensor in [*new.named_parameters(), *new.named_buffers()]:
        if name.split(".")[0] != "fc": tensor.copy_(teacher[name])
    return new

def head_put_back(teacher, model):
    new, head = copy.deepcopy(model), copy.deepcopy(model.fc)
    del new.fc
    new.load_state_dict({k: v for k, v in teacher.items() if k[:3] != "fc."})
    new.fc = head
    return new

def assigned_clones(teacher, model):
    new = copy.deepcopy(model)
    new.load_state_dict({k: v.clone() for k, v in teacher.items() if not k.startswith("fc.")}, strict=False, assign=True)
    return new

def weights_only(teacher, model):
    new = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in new.named_parameters():
            if not name.startswith("fc."): p.copy_(teacher[name])
    return new

def what_fits(teacher, model):
    new = copy.deepcopy(model)
    own = new.state_dict()
    new.load_state_dict({k: v for k, v in teacher.items() if v.shape == own[k].shape}, strict=False)
    return new

def all_of_it(teacher, model):
    new = copy.deepcopy(model)
    new.load_state_dict(teacher)
    return new

def into_the_model(teacher, model):
    model.load_state_dict({k: v for k, v in teacher.items() if not k.startswith("fc.")}, strict=False)
    return model

def changes_then_copies(teacher, model):
    return copy.deepcopy(into_the_model(teacher, model))

def shared(teacher, model):
    new = copy.deepcopy(model)
    new.load_state_dict({k: v for k, v in teacher.items() if not k.startswith("fc.")}, strict=False, assign=True)
    return new

def shallow(teacher, model):
    new = copy.copy(model)
    new.load_state_dict({k: v for k, v in teacher.items() if not k.startswith("fc.")}, strict=False)
    return new

def pops_the_head(teacher, model):
    new = copy.deepcopy(model)
    for k in [k for k in teacher if k.startswith("fc.")]: teacher.pop(k)
    new.load_state_dict(teacher, strict=False)
    return new

def fresh_head(teacher, model):
    new = loose_load(teacher, model)
    new.fc = nn.Linear(new.fc.in_features, new.fc.out_features)
    return new

def head_weight_only(teacher, model):
    new = copy.deepcopy(model)
    new.load_state_dict({k: v for k, v in teacher.items() if k != "fc.weight" and (k != "fc.bias" or v.shape == model.fc.bias.shape)}, strict=False)
    return new

def only_layers(teacher, model):
    new = copy.deepcopy(model)
    new.load_state_dict({k: v for k, v in teacher.items() if k.startswith("layer")}, strict=False)
    return new

def nothing_loaded(teacher, model):
    "The names are those of a wrapped network: with strict=False nothing fits, and nobody says so."
    new = copy.deepcopy(model)
    new.load_state_dict({f"module.{k}": v for k, v in teacher.items()}, strict=False)
    return new

def state_of_it(teacher, model): return loose_load(teacher, model).state_dict()


# 2. A frozen body that moves
def trainer(copied=True, mode="eval", zero=True, which="fc.", momentum=0., at_end="eval", reduction="mean", bn_only=False, once=False, decay=0.):
    "The text's function with switches for what may go wrong."
    def train_head(model, batches, lr):
        net = copy.deepcopy(model) if copied else model
        for name, p in net.named_parameters(): p.requires_grad_(name.startswith(which))
        optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr, momentum=momentum, weight_decay=decay)
        net.train(mode == "train")
        if bn_only:
            for m in net.modules():
                if isinstance(m, nn.BatchNorm2d): m.eval()
        for x, y in batches:
            if zero: optimizer.zero_grad()
            F.cross_entropy(net(x), y, reduction=reduction).backward()
            if not once: optimizer.step()
        if once: optimizer.step()
        return net.train(at_end == "train")
    return train_head

def features_once(model, batches, lr):
    net = copy.deepcopy(model).eval()
    w, b = net.fc.weight.detach().clone(), net.fc.bias.detach().clone()
    net.fc = nn.Identity()
    for x, y in batches:
        with torch.no_grad(): z = net(x)
        error = (torch.softmax(z @ w.T + b, 1) - F.one_hot(y, len(b))) / len(y)
        w, b = w - lr * error.T @ z, b - lr * error.sum(0)
    new = copy.deepcopy(model).eval()
    with torch.no_grad(): new.fc.weight.copy_(w); new.fc.bias.copy_(b)
    return new

def autograd_by_hand(model, batches, lr):
    net = copy.deepcopy(model).eval()
    for x, y in batches:
        gw, gb = torch.autograd.grad(F.cross_entropy(net(x), y), [net.fc.weight, net.fc.bias])
        with torch.no_grad(): net.fc.weight -= lr * gw; net.fc.bias -= lr * gb
    return net

def momentum_zeroed(model, batches, lr):
    "BatchNorm still takes the batch's statistics, only its memory stands still."
    net = copy.deepcopy(model)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d): m.momentum = 0.
    optimizer = torch.optim.SGD(net.fc.parameters(), lr=lr)
    net.train()
    for x, y in batches:
        optimizer.zero_grad()
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()

def statistics_put_back(model, batches, lr):
    net = trainer(mode="train")(model, batches, lr)
    with torch.no_grad():
        for now, before in zip(net.buffers(), model.buffers()): now.copy_(before)
    return net


# 3. A rate for each part
def by_powers(model, lr, decay):
    parts = [m for _, m in model.named_children() if any(True for _ in m.parameters())]
    return [{"params": list(m.parameters()), "lr": lr * decay ** (len(parts) - 1 - i)} for i, m in enumerate(parts)]

def from_the_back(model, lr, decay):
    groups = []
    for child in reversed(list(model.children())):
        params = list(child.parameters())
        if not params: continue
        groups.append(dict(params=params, lr=lr))
        lr *= decay
    return groups

def each_alone(model, lr, decay):
    names = []
    for name, _ in model.named_parameters():
        if name.split(".")[0] not in names: names.append(name.split(".")[0])
    return [{"params": [p], "lr": lr * decay ** (len(names) - 1 - names.index(name.split(".")[0])), "name": name} for name, p in model.named_parameters()]

def first_is_fastest(model, lr, decay):
    parts = [m for m in model.children() if list(m.parameters())]
    return [{"params": list(m.parameters()), "lr": lr * decay ** i} for i, m in enumerate(parts)]

def with_empty_parts(model, lr, decay):
    parts = list(model.children())
    groups = [{"params": list(m.parameters()), "lr": lr * decay ** (len(parts) - 1 - i)} for i, m in enumerate(parts)]
    return [g for g in groups if g["params"]]

def all_children(model, lr, decay):
    "An activation after the head counts as the last part, empty groups stay."
    parts = list(model.children())
    return [{"params": list(m.parameters()), "lr": lr * decay ** (len(parts) - 1 - i)} for i, m in enumerate(parts)]

def head_decayed_too(model, lr, decay): return [{**g, "lr": g["lr"] * decay} for g in by_powers(model, lr, decay)]

def one_rate(model, lr, decay): return [{"params": list(model.parameters()), "lr": lr}]

def without_bn1(model, lr, decay):
    parts = [getattr(model, n) for n in ("conv1", "layer1", "layer2", "layer3", "fc")]
    return [{"params": list(m.parameters()), "lr": lr * decay ** (len(parts) - 1 - i)} for i, m in enumerate(parts)]

def names_by_heart(model, lr, decay):
    parts = [getattr(model, n) for n in ("conv1", "bn1", "layer1", "layer2", "layer3", "fc")]
    return [{"params": list(m.parameters()), "lr": lr * decay ** (len(parts) - 1 - i)} for i, m in enumerate(parts)]

def evenly(model, lr, decay):
    groups = by_powers(model, lr, decay)
    return [{**g, "lr": lr * (1 - (1 - decay) * (len(groups) - 1 - i))} for i, g in enumerate(groups)]

def divided(model, lr, decay): return [{**g, "lr": lr * lr / g["lr"]} for g in by_powers(model, lr, decay)]

def every_module(model, lr, decay):
    modules = [m for m in model.modules() if list(m.parameters(recurse=False))]
    return [{"params": list(m.parameters(recurse=False)), "lr": lr * decay ** (len(modules) - 1 - i)} for i, m in enumerate(modules)]

def twice(model, lr, decay): return [{"params": list(model.parameters()), "lr": lr}, *by_powers(model, lr, decay)]

def the_optimizer(model, lr, decay): return torch.optim.SGD(by_powers(model, lr, decay), lr=lr)

def weights_without_biases(model, lr, decay):
    return [{**g, "params": [p for p in g["params"] if p.ndim > 1]} for g in by_powers(model, lr, decay) if any(p.ndim > 1 for p in g["params"])]


# 4. Pictures that leak
def by_permutations(labels, per_class, n_val, seed):
    g = torch.Generator().manual_seed(seed)
    train = []
    for c in labels.unique():
        where = (labels == c).nonzero().flatten()
        train += where[torch.randperm(len(where), generator=g)[:per_class]].tolist()
    rest = torch.tensor(sorted(set(range(len(labels))) - set(train)), dtype=torch.long)
    return train, rest[torch.randperm(len(rest), generator=g)[:n_val]].tolist()

def one_shuffle(labels, per_class, n_val, seed):
    "One order of all; the first of each class train, of the others the first are for validation."
    order = np.random.default_rng(seed).permutation(len(labels)).tolist()
    taken, train, rest = {}, [], []
    for i in order:
        c = int(labels[i])
        if taken.get(c, 0) < per_class: train.append(i); taken[c] = taken.get(c, 0) + 1
        else: rest.append(i)
    return train, rest[:n_val]

def by_sample(labels, per_class, n_val, seed):
    r = random.Random(seed)
    classes = {}
    for i, c in enumerate(labels.tolist()): classes.setdefault(c, []).append(i)
    train = [i for where in classes.values() for i in r.sample(where, per_class)]
    return train, r.sample([i for i in range(len(labels)) if i not in set(train)], n_val)

def global_seed(labels, per_class, n_val, seed):
    torch.manual_seed(seed)
    train = []
    for c in labels.unique():
        where = (labels == c).nonzero().flatten()
        train += where[torch.randperm(len(where))][:per_class].tolist()
    free = torch.ones(len(labels), dtype=torch.bool); free[train] = False
    rest = free.nonzero().flatten()
    return train, rest[torch.randperm(len(rest))[:n_val]].tolist()

def drawer(random_train=True, apart=True, seeded=True, range_classes=False, fixed_val=False, stratified=True, inside=False, whole_seed=True, sorted_val=False):
    "The text's function with switches for what may go wrong."
    def few_pictures(labels, per_class, n_val, seed):
        g = torch.Generator().manual_seed(seed if whole_seed else 0)
        if not seeded: g.seed()
        perm = lambda n: torch.randperm(n, generator=g)
        train = []
        for c in range(int(labels.max()) + 1) if range_classes else labels.unique():
            where = (labels == c).nonzero().flatten()
            if random_train: where = (torch.arange(len(where)) if inside else where)[perm(len(where))]
            train += where[:per_class].tolist()
        if not stratified: train = perm(len(labels))[:per_class * len(labels.unique())].tolist()
        rest = torch.tensor([i for i in range(len(labels)) if not apart or i not in set(train)])
        return train, rest[:n_val].tolist() if fixed_val else rest[perm(len(rest))[:n_val]].tolist()
    return few_pictures

def never_seeded(labels, per_class, n_val, seed):
    train = []
    for c in labels.unique():
        where = (labels == c).nonzero().flatten()
        train += where[torch.randperm(len(where))][:per_class].tolist()
    rest = [i for i in range(len(labels)) if i not in set(train)]
    return train, random.sample(rest, n_val)

def only_what_is_left_of_it(labels, per_class, n_val, seed):
    "Draws for validation from all, and throws out what leaks: fewer than asked for."
    train, _ = by_permutations(labels, per_class, n_val, seed)
    drawn = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed + 1))[:n_val].tolist()
    return train, [i for i in drawn if i not in set(train)]

def with_replacement(labels, per_class, n_val, seed):
    r = random.Random(seed)
    train = []
    for c in labels.unique().tolist(): train += r.choices([i for i, v in enumerate(labels.tolist()) if v == c], k=per_class)
    return train, r.choices([i for i in range(len(labels)) if i not in set(train)], k=n_val)


# 5. Hold the body or let it move?
def accuracies(folder):
    return [e["metrics"]["test"]["accuracy"] for e in read_record(experiments_dir() / "transfer" / folder)["per_seed"]]

def judged():
    d = {n: difference(accuracies(f"{n}_finetune"), accuracies(f"{n}_frozen")) for n in ("n5", "n20", "n100", "n500")}
    return {n: "finetune" if v.low > 0 else "frozen" if v.high < 0 else "open" for n, v in d.items()}

def by_means():
    return {n: max(("finetune", "frozen"), key=lambda k: sum(accuracies(f"{n}_{k}"))) for n in ("n5", "n20", "n100", "n500")}


ANSWERS = {
    "start_from": dict(
        right={"strict=False": loose_load, "merged dicts": merged, "number by number": number_by_number, "the head taken off": head_put_back, "clones assigned": assigned_clones},
        wrong={
            "weights, not statistics": (weights_only, "statistics"),
            "what fits": (what_fits, "head"),
            "all of it": (all_of_it, "fc.weight"),
            "into the model": (into_the_model, "copy"),
            "changes, then copies": (changes_then_copies, "copy"),
            "shared tensors": (shared, "share"),
            "a shallow copy": (shallow, "copy"),
            "pops of the dict": (pops_the_head, "changed"),
            "a fresh head": (fresh_head, "neither"),
            "the teacher's bias": (head_weight_only, "`fc.bias` is the teacher's"),
            "only the layers": (only_layers, "conv1"),
            "nothing fits": (nothing_loaded, "conv1"),
            "a state_dict": (state_of_it, "module"),
        }),
    "train_head": dict(
        right={"both mended": trainer(), "only BatchNorm in eval": trainer(mode="train", bn_only=True), "features and algebra": features_once, "autograd.grad": autograd_by_hand},
        wrong={
            "as it was": (trainer(mode="train", zero=False), "BatchNorm"),
            "gradients add up": (trainer(zero=False), "zero_grad"),
            "still in training mode": (trainer(mode="train"), "BatchNorm"),
            "no memory, batch's statistics": (momentum_zeroed, "evaluation mode"),
            "statistics put back": (statistics_put_back, "in training mode"),
            "everything moves": (trainer(which=""), "conv1.weight"),
            "the last stage moves too": (trainer(which=("fc.", "layer3.")), "layer3"),
            "no copy": (trainer(copied=False), "copy"),
            "momentum": (trainer(momentum=0.9), "fc.weight"),
            "left in training mode": (trainer(at_end="train"), "evaluation mode"),
            "summed loss": (trainer(reduction="sum"), "sum of the losses"),
            "one step in all": (trainer(once=True, zero=False), "went into one step"),
            "only the bias": (trainer(which="fc.bias"), "fc.weight"),
        }),
    "rates_by_part": dict(
        right={"by powers": by_powers, "from the back": from_the_back, "a group for each": each_alone},
        wrong={
            "the first is the fastest": (first_is_fastest, "other way round"),
            "empty parts count": (with_empty_parts, "without parameters"),
            "empty groups": (all_children, "without parameters"),
            "the head decays too": (head_decayed_too, "last part"),
            "one rate": (one_rate, "one rate"),
            "without bn1": (without_bn1, "bn1"),
            "names by heart": (names_by_heart, "no attribute"),
            "evenly spaced": (evenly, "should be"),
            "divided": (divided, "divide by decay"),
            "every module a part": (every_module, "direct children"),
            "twice": (twice, "more than one group"),
            "the optimizer": (the_optimizer, "list"),
            "no biases": (weights_without_biases, "no group"),
        }),
    "few_pictures": dict(
        right={"permutations": by_permutations, "one shuffle": one_shuffle, "random.sample": by_sample, "seeds the global generator": global_seed},
        wrong={
            "as it was": (drawer(random_train=False, apart=False), "leak"),
            "training still the first": (drawer(random_train=False), "same training pictures"),
            "validation from all": (drawer(apart=False), "leak"),
            "seed unused": (never_seeded, "same"),
            "another seed each time": (drawer(seeded=False), "same"),
            "one seed for all": (drawer(whole_seed=False), "same training pictures"),
            "classes from 0": (drawer(range_classes=True), "class -1"),
            "not by class": (drawer(stratified=False), "class"),
            "positions in the class": (drawer(inside=True), "twice"),
            "validation not drawn": (drawer(fixed_val=True), "have to be drawn"),
            "thrown out": (only_what_is_left_of_it, "validation"),
            "with replacement": (with_replacement, "twice"),
        }),
    "hold_or_move": dict(
        right={"by difference": judged(), "by eye": {"n5": "open", "n20": "open", "n100": "finetune", "n500": "finetune"}},
        wrong={
            "by means": (by_means(), "contains 0"),
            "few pictures: frozen": ({**judged(), "n5": "frozen"}, "n5"),
            "always let it move": (dict.fromkeys(("n5", "n20", "n100", "n500"), "finetune"), "n5"),
            "always open": (dict.fromkeys(("n5", "n20", "n100", "n500"), "open"), "n100"),
            "one left out": ({"n5": "open", "n20": "open", "n100": "finetune"}, "n500"),
            "another word": ({**judged(), "n5": "equal"}, "`n5`"),
            "a list": (["open", "open", "finetune", "finetune"], "dict"),
        }),
}
