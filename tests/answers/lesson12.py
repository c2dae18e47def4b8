"Right and wrong answers to the exercises of lesson 12, written from their text alone."
import copy, math, types

import torch
from torch import nn
from torch.func import functional_call
from torch.nn import functional as F


# 1. A direction
def by_flattening(weights, direction):
    found = {}
    for name, w in weights.items():
        d = direction[name]
        if w.dim() < 2:
            found[name] = torch.zeros_like(d)
            continue
        want, has = w.flatten(1).norm(dim=1), d.flatten(1).norm(dim=1)
        scale = torch.where(has > 0, want / has, torch.zeros_like(has))
        found[name] = d * scale.view(-1, *[1] * (d.dim() - 1))
    return found


def filter_after_filter(weights, direction):
    found = {}
    for name in direction:
        d, w = direction[name].clone(), weights[name]
        if d.ndim >= 2:
            for mine, its in zip(d, w):
                if mine.abs().sum() > 0: mine *= its.pow(2).sum().sqrt() / mine.pow(2).sum().sqrt()
        else: d.zero_()
        found[name] = d
    return found


def with_a_small_number(weights, direction):
    found = {}
    for name, d in direction.items():
        others = tuple(range(1, d.ndim))
        length = lambda t, dim=others: t.square().sum(dim=dim, keepdim=True).sqrt()
        found[name] = d / (length(d) + 1e-10) * length(weights[name]) if d.ndim > 1 else d * 0
    return found


def scaling(length=lambda t: t.flatten(1).norm(dim=1).view(-1, *[1] * (t.ndim - 1)), few=lambda d: torch.zeros_like(d), least=2, want=None, guard=True):
    "`filter_direction` with a mistake"
    def filter_direction(weights, direction):
        found = {}
        for name, d in direction.items():
            if d.ndim < least: found[name] = few(d)
            else:
                has, its = length(d), (want or length)(weights[name])
                found[name] = d / (has.clamp(min=1e-30) if guard else has) * its
        return found
    return filter_direction


def in_place(weights, direction):
    for name, d in direction.items():
        if d.ndim < 2: d.zero_()
        else: d.copy_(by_flattening({name: weights[name]}, {name: d})[name])
    return direction


# 2. There and back
def there_and_back(model, direction, x, y, steps):
    modes, start = [(m, m.training) for m in model.modules()], {n: p.detach().clone() for n, p in model.named_parameters()}
    model.eval()
    losses = []
    with torch.no_grad():
        for a in steps:
            for name, p in model.named_parameters():
                if name in direction: p.copy_(start[name] + a * direction[name])
            losses.append(F.cross_entropy(model(x), y).item())
        for name, p in model.named_parameters(): p.copy_(start[name])
    for m, mode in modes: m.training = mode
    return losses


def functional(model, direction, x, y, steps):
    modes, losses = {m: m.training for m in model.modules()}, []
    model.eval()
    try:
        with torch.no_grad():
            for a in steps:
                moved = {n: p + a * direction[n] if n in direction else p for n, p in model.named_parameters()}
                losses.append(float(F.cross_entropy(functional_call(model, moved, (x,)), y)))
    finally:
        for m, mode in modes.items(): m.train(mode)
    return losses


@torch.no_grad()
def copies(model, direction, x, y, steps):
    found = []
    for a in steps:
        net = copy.deepcopy(model).eval()
        for name, d in direction.items(): net.get_parameter(name).add_(d, alpha=a)
        found.append(F.cross_entropy(net(x), y).item())
    return found


def walking(back=True, evaluates=True, end="weights", modes="each", order=list, kind=float, alias=False, loss=F.cross_entropy, move=lambda p, a, d: p + a * d):
    "`loss_along` with a mistake"
    def loss_along(model, direction, x, y, steps):
        was, top = [(m, m.training) for m in model.modules()], model.training
        start = model.state_dict() if alias else copy.deepcopy(model.state_dict())
        if evaluates: model.eval()
        losses = []
        for a in order(steps):
            with torch.no_grad():
                if back: model.load_state_dict(start)
                for name, p in model.named_parameters():
                    if name in direction: p.copy_(move(p, a, direction[name]))
                losses.append(kind(loss(model(x), y)))
        if end == "weights": model.load_state_dict(start)
        if modes == "each":
            for m, mode in was: m.training = mode
        elif modes == "top": model.train(top)
        return losses
    return loss_along


def added_and_subtracted(model, direction, x, y, steps):
    modes, losses = [(m, m.training) for m in model.modules()], []
    model.eval()
    with torch.no_grad():
        for a in steps:
            for name, d in direction.items(): model.get_parameter(name).add_(a * d)
            losses.append(F.cross_entropy(model(x), y).item())
            for name, d in direction.items(): model.get_parameter(name).sub_(a * d)
    for m, mode in modes: m.training = mode
    return losses


def as_it_was(model, direction, x, y, steps):
    losses = []
    for a in steps:
        with torch.no_grad():
            for name, p in model.named_parameters():
                if name in direction: p += a * direction[name]
            losses.append(F.cross_entropy(model(x), y).item())
    return losses


# 3. One scale
def all_finite(surfaces, top):
    values = torch.cat([s.flatten() for s in surfaces])
    values = values[values.isfinite()]
    return values.min().item(), min(values.max().item(), top)


def number_by_number(surfaces, top):
    values = [v for s in surfaces for v in s.reshape(-1).tolist() if math.isfinite(v)]
    return min(values), float(min(max(values), top))


def without_nan(surfaces, top):
    values = torch.cat([s.flatten() for s in surfaces])
    values = values[~values.isnan()]
    return values.min().item(), min(values.max().item(), top)


# 4. A block taken out
class Passing(nn.Module):
    "The shortcut of a block and its ReLU"
    def __init__(self, block):
        super().__init__()
        self.downsample = block.downsample
        self.training = block.training
    def forward(self, x): return F.relu(x if self.downsample is None else self.downsample(x))


def replaced(model, name):
    net = copy.deepcopy(model)
    stage, place = name.split(".")
    getattr(net, stage)[int(place)] = Passing(net.get_submodule(name))
    return net


def own_forward(model, name):
    net = copy.deepcopy(model)
    block = net.get_submodule(name)
    block.forward = types.MethodType(lambda self, x: (self.downsample(x) if self.downsample is not None else x).clamp(min=0), block)
    return net


def sequence(model, name):
    net = copy.deepcopy(model)
    parent, _, last = name.rpartition(".")
    block = net.get_submodule(name)
    setattr(net.get_submodule(parent), last, nn.Sequential(nn.Identity() if block.downsample is None else block.downsample, nn.ReLU()))
    return net.train(model.training)


def last_norm_silenced(model, name):
    net = copy.deepcopy(model)
    block = net.get_submodule(name)
    norm = block.bn3 if hasattr(block, "bn3") else block.bn2
    nn.init.zeros_(norm.weight)
    nn.init.zeros_(norm.bias)
    return net


def putting(make, copying=copy.deepcopy, mode=None):
    "`without_block` with something else in the block's place"
    def without_block(model, name):
        net = copying(model)
        parent, _, last = name.rpartition(".")
        new = make(net.get_submodule(name))
        new.train(net.training)
        setattr(net.get_submodule(parent), last, new)
        return net if mode is None else net.train(mode)
    return without_block


passed = lambda block: nn.Sequential(block.downsample or nn.Identity(), nn.ReLU())


def branch_kept(model, name):
    net = copy.deepcopy(model)
    block = net.get_submodule(name)
    def forward(self, x):
        out = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) if not hasattr(self, "conv3") else self.bn3(self.conv3(self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))))))
        return F.relu(out)
    block.forward = types.MethodType(forward, block)
    return net


def hooked(model, name):
    model.get_submodule(name).register_forward_hook(lambda m, args, out: F.relu(args[0] if m.downsample is None else m.downsample(args[0])))
    return model


def left_out(model, name):
    net = copy.deepcopy(model)
    stage, place = name.split(".")
    setattr(net, stage, nn.Sequential(*[b for i, b in enumerate(getattr(net, stage)) if i != int(place)]))
    return net.train(model.training)


def convolutions_zeroed(model, name):
    net = copy.deepcopy(model)
    for path, m in net.get_submodule(name).named_modules():
        if isinstance(m, nn.Conv2d) and not path.startswith("downsample"): nn.init.zeros_(m.weight)
    return net


def branch_weights_zeroed(model, name):
    net = copy.deepcopy(model)
    for p in net.get_submodule(name).parameters(): nn.init.zeros_(p)
    return net


# 5. Paths
def counted(n, factor):
    paths = [math.comb(n, k) * factor ** k for k in range(n + 1)]
    return [p / sum(paths) for p in paths]


def binomial(n, factor):
    p = factor / (1 + factor)
    return [math.comb(n, k) * p ** k * (1 - p) ** (n - k) for k in range(n + 1)]


def block_by_block(n, factor):
    shares = [1.0]
    for _ in range(n):
        by_shortcut, by_branch = shares + [0.0], [0.0] + shares
        shares = [(s + factor * b) / (1 + factor) for s, b in zip(by_shortcut, by_branch)]
    return shares


def shared(values, parts=True):
    "Shares of what `values(n, factor)` lists"
    def gradient_by_length(n, factor):
        found = values(n, factor)
        return [v / sum(found) for v in found] if parts else found
    return gradient_by_length


def in_float32(n, factor):
    k = torch.arange(n + 1).float()
    logs = torch.lgamma(torch.tensor(n + 1.0)) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    paths = logs.exp() * factor ** k
    return (paths / paths.sum()).tolist()


ANSWERS = {
    "filter_direction": dict(
        right={"flattened": by_flattening, "filter after filter": filter_after_filter, "a small number below": with_a_small_number},
        wrong={
            "one length for the layer": (scaling(length=lambda t: t.norm()), "whole layer"),
            "along the second index": (scaling(length=lambda t: t.transpose(0, 1).flatten(1).norm(dim=1).view(1, -1, *[1] * (t.ndim - 2))), "wrong index"),
            "length one": (scaling(want=lambda t: 1.0), "weights"),
            "not scaled": (lambda weights, direction: {n: d if d.ndim > 1 else d * 0 for n, d in direction.items()}, "as it was drawn"),
            "sum of squares without a root": (scaling(length=lambda t: t.flatten(1).square().sum(1).view(-1, *[1] * (t.ndim - 1))), "root"),
            "times instead of divided": (scaling(length=lambda t: 1 / t.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, *[1] * (t.ndim - 1)), guard=False), "upside down"),
            "biases kept": (scaling(few=lambda d: d.clone()), "zero"),
            "biases scaled": (lambda w, d: {n: by_flattening(w, d)[n] if d[n].ndim > 1 else d[n] / d[n].norm() * w[n].norm() for n in d}, "zero"),
            "biases left out": (lambda w, d: {n: v for n, v in by_flattening(w, d).items() if v.ndim > 1}, "name"),
            "NaN": (scaling(guard=False), "NaN"),
            "convolutions alone": (scaling(least=4), "linear"),
            "in place": (in_place, "changed"),
            "a list": (lambda w, d: list(by_flattening(w, d).values()), "dict"),
        }),
    "loss_along": dict(
        right={"there and back": there_and_back, "functional_call": functional, "copies": copies, "tensors without dimensions": walking(kind=lambda v: v)},
        wrong={
            "steps add up": (walking(back=False), "start"),
            "training mode": (walking(evaluates=False), "training mode"),
            "not put back": (walking(end=None), "left perturbed"),
            "kept without a copy": (walking(alias=True), "clone"),
            "stays in evaluation mode": (walking(modes=None), "mode"),
            "one mode for all": (walking(modes="top"), "layer `1`"),
            "sorted": (walking(order=sorted), "sorted"),
            "subtracted again": (added_and_subtracted, "rounds"),
            "summed": (walking(loss=lambda s, y: F.cross_entropy(s, y, reduction="sum")), "sums over the pictures"),
            "towards the direction": (walking(move=lambda p, a, d: (1 - a) * p + a * d), "plus"),
            "softmax": (walking(loss=lambda s, y: F.cross_entropy(s.softmax(1), y)), "softmax"),
            "direction scaled in place": (walking(move=lambda p, a, d: p + d.mul_(a)), "changed"),
            "as it was": (as_it_was, "start"),
        }),
    "one_scale": dict(
        right={"finite ones": all_finite, "number by number": number_by_number},
        wrong={
            "NaN and all": (lambda s, top: (torch.cat([v.flatten() for v in s]).min().item(), min(torch.cat([v.flatten() for v in s]).max().item(), top)), "NaN"),
            "infinite as top": (without_nan, "infinite"),
            "no top": (lambda s, top: (all_finite(s, math.inf)[0], all_finite(s, math.inf)[1]), "top"),
            "always top": (lambda s, top: (all_finite(s, top)[0], top), "wasted"),
            "from zero": (lambda s, top: (0.0, all_finite(s, top)[1]), "0 is not among"),
            "the first panel": (lambda s, top: all_finite(s[:1], top), "first panel"),
            "a scale each": (lambda s, top: [all_finite([v], top) for v in s], "pair"),
            "stacked": (lambda s, top: all_finite([torch.stack(s)], top), "equal size"),
            "NaN as zero": (lambda s, top: all_finite([v.nan_to_num(0.0, top, 0.0) for v in s], top), "0 is not among"),
            "the wrong way round": (lambda s, top: all_finite(s, top)[::-1], "low"),
            "mean of the panels": (lambda s, top: (sum(all_finite([v], top)[0] for v in s) / len(s), sum(all_finite([v], top)[1] for v in s) / len(s)), "differs"),
        }),
    "without_block": dict(
        right={"a module in its place": replaced, "another forward": own_forward, "a sequence": sequence, "last norm silenced": last_norm_silenced},
        wrong={
            "identity everywhere": (putting(lambda block: nn.Identity()), "no longer fits"),
            "no ReLU": (putting(lambda block: block.downsample or nn.Identity()), "ReLU"),
            "the network itself": (putting(passed, copying=lambda m: m), "copy"),
            "a shallow copy": (putting(passed, copying=copy.copy), "itself"),
            "a hook on the network": (hooked, "copy"),
            "left out": (left_out, "no longer fits"),
            "shortcut gone, branch kept": (branch_kept, "shortcut"),
            "convolutions zeroed": (convolutions_zeroed, "last BatchNorm"),
            "all weights zeroed": (branch_weights_zeroed, "shortcut"),
            "in training mode": (putting(passed, mode=True), "your copy is in training mode"),
            "in evaluation mode": (putting(passed, mode=False), "your copy is in evaluation mode"),
            "the example's block": (lambda model, name: replaced(model, "layer2.1"), "no attribute"),
            "nothing taken out": (lambda model, name: copy.deepcopy(model), "branch"),
            "the block alone": (lambda model, name: replaced(model, name).get_submodule(name), "shape"),
        }),
    "gradient_by_length": dict(
        right={"counted": counted, "binomial": binomial, "block by block": block_by_block},
        wrong={
            "one path each": (shared(lambda n, f: [f ** k for k in range(n + 1)]), "paths"),
            "number of paths alone": (shared(lambda n, f: [float(math.comb(n, k)) for k in range(n + 1)]), "factor"),
            "not divided": (shared(lambda n, f: [math.comb(n, k) * f ** k for k in range(n + 1)], parts=False), "add up to 1"),
            "divided by the number of paths": (lambda n, f: [math.comb(n, k) * f ** k / 2 ** n for k in range(n + 1)], "add up to 1"),
            "n entries": (lambda n, f: counted(n, f)[1:], "are wanted"),
            "one to n": (shared(lambda n, f: [math.comb(n, k) * f ** k for k in range(1, n + 1)] or [1.0]), "are wanted"),
            "through the shortcuts": (lambda n, f: counted(n, f)[::-1], "exchanged"),
            "factor as a probability": (lambda n, f: [math.comb(n, k) * f ** k * (1 - f) ** (n - k) for k in range(n + 1)], "probability"),
            "permutations": (shared(lambda n, f: [math.perm(n, k) * f ** k for k in range(n + 1)]), "one path"),
            "float32": (in_float32, "overflow"),
            "sums up to k": (lambda n, f: [sum(counted(n, f)[:k + 1]) for k in range(n + 1)], "exactly k"),
        }),
}
