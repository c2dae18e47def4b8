"Answers to the exercises of lesson 10, written from their text alone: right ones to be accepted, wrong ones with words that the message must hold."
import contextlib, copy

import numpy as np
import torch
from scipy.stats import spearmanr
from torch.nn import functional as F

from resnet_course.core import experiments_dir
from resnet_course.experiment import read_maps
from resnet_course.gradcam import randomised, rank_correlation

# ---------------------------------------------------------------- gradcam


@contextlib.contextmanager
def hooked(layer, hook):
    handle = layer.register_forward_hook(hook)
    try: yield
    finally: handle.remove()


def maps_and_gradients(model, x, target, layer, score=lambda logits, target: logits.gather(1, target[:, None]).sum()):
    "The layer's answer and the gradient of the summed scores"
    kept = []
    def hook(module, args, out): kept.append(out); return out.clone()
    with hooked(layer, hook): logits = model(x.clone().requires_grad_())
    (grad,) = torch.autograd.grad(score(logits, target), kept[0])
    return kept[0].detach(), grad


def several(maps):
    if maps.shape[2:] == (1, 1): raise ValueError("a single place")
    return maps


def gradcam_with_a_clone_behind(model, x, target, layer):
    maps, grad = maps_and_gradients(model, x, target, layer)
    return (grad.mean((2, 3), keepdim=True) * several(maps)).sum(1).relu()


def gradcam_from_a_leaf(model, x, target, layer):
    "The answer becomes a leaf: nothing before the layer is differentiated"
    leaf = None
    def hook(module, args, out):
        nonlocal leaf
        if out.shape[-2] * out.shape[-1] == 1: raise ValueError("the map has one place")
        leaf = out.detach().clone().requires_grad_(True)
        return leaf * 1
    handle = layer.register_forward_hook(hook)
    try: logits = model(x)
    finally: handle.remove()
    g = torch.autograd.grad(logits[torch.arange(len(x)), target].sum(), leaf)[0]
    return torch.einsum("bk,bkhw->bhw", g.flatten(2).mean(2), leaf.detach()).clamp(min=0)


def gradcam_picture_by_picture(model, x, target, layer):
    out = []
    for i in range(len(x)):
        maps, grad = maps_and_gradients(model, x[i:i + 1], target[i:i + 1], layer)
        if maps.numel() == maps.shape[1]: raise ValueError("one place only")
        out.append(torch.relu(torch.tensordot(grad[0].mean(dim=(1, 2)), maps[0], 1)))
    return torch.stack(out)


def gradcam_by_backward(model, x, target, layer):
    "`backward`, with every .grad put aside before and put back afterwards"
    kept, before = [], [p.grad for p in model.parameters()]
    def hook(module, args, out):
        if not out.requires_grad: out.requires_grad_()
        out.retain_grad(); kept.append(out)
        return out.clone()
    handle = layer.register_forward_hook(hook)
    for p in model.parameters(): p.grad = None
    try:
        scores = model(x)
        maps = several(kept[0])
        sum(scores[i, t] for i, t in enumerate(target.tolist())).backward()
    finally:
        handle.remove()
        for p, g in zip(model.parameters(), before): p.grad = g
    return (maps.grad.mean((-2, -1))[:, :, None, None] * maps).sum(dim=1).clamp_min(0).detach()


def variant(combine=lambda a, g: (g.mean((2, 3), keepdim=True) * a).sum(1).relu(), **kwargs):
    def answer(model, x, target, layer):
        a, g = maps_and_gradients(model, x, target, layer, **kwargs)
        return combine(several(a), g)
    return answer


def no_check_of_places(model, x, target, layer):
    a, g = maps_and_gradients(model, x, target, layer)
    return (g.mean((2, 3), keepdim=True) * a).sum(1).relu()


def refuses_every_thin_map(model, x, target, layer):
    a, g = maps_and_gradients(model, x, target, layer)
    if 1 in a.shape[2:]: raise ValueError("too small")
    return (g.mean((2, 3), keepdim=True) * a).sum(1).relu()


def hook_forgotten(model, x, target, layer):
    kept = []
    layer.register_forward_hook(lambda m, i, o: (kept.append(o), o.clone())[1])
    logits = model(x)
    g = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[0])[0]
    return (g.mean((2, 3), keepdim=True) * several(kept[0].detach())).sum(1).relu()


def hook_forgotten_on_an_error(model, x, target, layer):
    kept = []
    handle = layer.register_forward_hook(lambda m, i, o: (kept.append(o), o.clone())[1])
    logits = model(x)
    g = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[0])[0]
    several(kept[0])
    handle.remove()
    return (g.mean((2, 3), keepdim=True) * kept[0].detach()).sum(1).relu()


def kept_without_a_copy(model, x, target, layer):
    kept = []
    with hooked(layer, lambda m, i, o: kept.append(o)): logits = model(x.clone().requires_grad_())
    g = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[0])[0]
    return (g.mean((2, 3), keepdim=True) * several(kept[0].detach())).sum(1).relu()


def gradients_left(model, x, target, layer):
    kept = []
    def hook(m, i, o): o.retain_grad(); kept.append(o); return o.clone()
    with hooked(layer, hook): logits = model(x)
    several(kept[0])
    logits.gather(1, target[:, None]).sum().backward()
    return (kept[0].grad.mean((2, 3), keepdim=True) * kept[0].detach()).sum(1).relu()


def gradients_cleared(model, x, target, layer):
    model.zero_grad()
    out = gradients_left(model, x, target, layer)
    model.zero_grad()
    return out


def with_its_graph(model, x, target, layer):
    kept = []
    with hooked(layer, lambda m, i, o: (kept.append(o), o.clone())[1]): logits = model(x)
    g = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), kept[0])[0]
    return (g.mean((2, 3), keepdim=True) * several(kept[0])).sum(1).relu()


def parameters_frozen(model, x, target, layer):
    for p in model.parameters(): p.requires_grad_(False)
    return gradcam_with_a_clone_behind(model, x, target, layer)


def in_training_mode(model, x, target, layer):
    model.train()
    return gradcam_with_a_clone_behind(model, x, target, layer)


def enlarged(model, x, target, layer):
    m = gradcam_with_a_clone_behind(model, x, target, layer)
    return F.interpolate(m[:, None], x.shape[2:], mode="bilinear")[:, 0]


def square_only(model, x, target, layer):
    m = gradcam_with_a_clone_behind(model, x, target, layer)
    return m.view(len(m), m.shape[1], m.shape[1])


def sides_swapped(model, x, target, layer):
    return gradcam_with_a_clone_behind(model, x, target, layer).transpose(1, 2)


def first_picture_only(model, x, target, layer):
    return gradcam_with_a_clone_behind(model, x[:1], target[:1], layer)[0]


def raw(a, g): return (g.mean((2, 3), keepdim=True) * a).sum(1)
def stretch(m): return m / m.amax((1, 2), keepdim=True).clamp(min=1e-8)
def positive(a, g): return raw(a, g).relu()


GRADCAM = dict(
    right={"a clone goes on, autograd.grad": gradcam_with_a_clone_behind, "the answer made a leaf, einsum": gradcam_from_a_leaf,
           "picture by picture": gradcam_picture_by_picture, "backward, .grad put back": gradcam_by_backward},
    wrong={"the probability is explained": (variant(score=lambda z, t: z.softmax(1).gather(1, t[:, None]).sum()), "probabilit"),
           "the log-probability is explained": (variant(score=lambda z, t: -F.cross_entropy(z, t, reduction="sum")), "probabilit"),
           "the loss is explained": (variant(score=lambda z, t: F.cross_entropy(z, t, reduction="sum")), "loss"),
           "the answer instead of the target": (variant(score=lambda z, t: z.max(1).values.sum()), "answers"),
           "the mean score of the batch": (variant(score=lambda z, t: z.gather(1, t[:, None]).mean()), "batch"),
           "negative values kept": (variant(raw), "Negative"),
           "absolute values": (variant(lambda a, g: raw(a, g).abs()), "negative"),
           "stretched to 1": (variant(lambda a, g: stretch(positive(a, g))), "stretched"),
           "weights are sums": (variant(lambda a, g: (g.sum((2, 3), keepdim=True) * a).sum(1).relu()), "mean"),
           "mean over channels": (variant(lambda a, g: (g.mean((2, 3), keepdim=True) * a).mean(1).relu()), "channels"),
           "one set of weights for the batch": (variant(lambda a, g: (g.mean((0, 2, 3), keepdim=True) * a).sum(1).relu()), "batch"),
           "place by place (HiResCAM)": (variant(lambda a, g: (g * a).sum(1).relu()), "place"),
           "only positive gradients": (variant(lambda a, g: (g.relu().mean((2, 3), keepdim=True) * a).sum(1).relu()), "negative"),
           "ReLU before the sum": (variant(lambda a, g: (g.mean((2, 3), keepdim=True) * a).relu().sum(1)), "before"),
           "gradients and maps of one hook not copied": (kept_without_a_copy, "in place"),
           "a hook is forgotten": (hook_forgotten, "hook"),
           "a hook is forgotten on an error": (hook_forgotten_on_an_error, "hook"),
           "gradients left in the parameters": (gradients_left, ".grad"),
           "the caller's gradients cleared": (gradients_cleared, ".grad"),
           "the graph is returned": (with_its_graph, "graph"),
           "parameters left frozen": (parameters_frozen, "requires_grad"),
           "in training mode": (in_training_mode, "mode"),
           "no error for a single place": (no_check_of_places, "ValueError"),
           "an error for every thin map": (refuses_every_thin_map, "not a single place"),
           "enlarged": (enlarged, "enlarge"),
           "square maps only": (square_only, "view"),
           "height and width swapped": (sides_swapped, "shape"),
           "only the first picture": (first_picture_only, "shape")})

# ---------------------------------------------------------------- class_score


def in_range(target, classes):
    if ((target < 0) | (target >= classes)).any(): raise ValueError("no such class")


def score_by_gather(logits, target):
    in_range(target, max(2, logits.shape[1]))
    if logits.shape[1] == 1: return torch.where(target == 1, logits[:, 0], -logits[:, 0])
    return logits.gather(1, target.unsqueeze(1)).squeeze(1)


def score_by_two_columns(logits, target):
    "One logit z is written as the two columns -z and z"
    if logits.size(1) == 1: logits = torch.cat([-logits, logits], 1)
    if target.min().item() < 0 or target.max().item() >= logits.size(1): raise ValueError(f"targets {target.tolist()}")
    return (logits * F.one_hot(target, logits.size(1))).sum(1)


def score_by_a_loop(logits, target):
    out = []
    for row, t in zip(logits, target.tolist()):
        if t not in range(max(2, len(row))): raise ValueError(t)
        out.append(row[t] if len(row) > 1 else row[0] if t else -row[0])
    return torch.stack(out)


def score_variant(many=lambda z, t: z.gather(1, t[:, None])[:, 0], one=lambda z, t: z[:, 0] * (2 * t - 1), check=in_range):
    def mended(logits, target):
        check(target, max(2, logits.shape[1]))
        return (one if logits.shape[1] == 1 else many)(logits, target)
    return mended


def as_given(logits, target):
    probabilities = logits.softmax(1)
    target = target.clamp(0, logits.shape[1] - 1)
    return probabilities.gather(1, target[:, None])[:, 0]


def clamp_kept(logits, target):
    target = target.clamp(0, max(1, logits.shape[1] - 1))
    return logits.gather(1, target[:, None])[:, 0] if logits.shape[1] > 1 else logits[:, 0] * (2 * target - 1)


def one_logit_has_one_class(logits, target):
    in_range(target, logits.shape[1])
    return logits.gather(1, target[:, None])[:, 0]


def only_too_large(target, classes):
    if (target >= classes).any(): raise ValueError


def only_all(target, classes):
    if ((target < 0) | (target >= classes)).all(): raise ValueError


def index_error(target, classes):
    if ((target < 0) | (target >= classes)).any(): raise IndexError("no such class")


def asserted(target, classes): assert target.min() >= 0 and target.max() < classes


def one_logit_unchecked(target, classes): in_range(target, classes if classes > 2 else 99)


def one_by_first(z, t): return z[:, 0] if t[0] == 1 else -z[:, 0]


CLASS_SCORE = dict(
    right={"gather and where": score_by_gather, "two columns, one-hot": score_by_two_columns, "a loop": score_by_a_loop},
    wrong={"as given": (as_given, "probabilit"),
           "softmax kept": (score_variant(many=lambda z, t: z.softmax(1).gather(1, t[:, None])[:, 0]), "probabilit"),
           "log-softmax": (score_variant(many=lambda z, t: z.log_softmax(1).gather(1, t[:, None])[:, 0]), "log"),
           "sigmoid of one logit": (score_variant(one=lambda z, t: (z[:, 0] * (2 * t - 1)).sigmoid()), "probabilit"),
           "one logit never turned": (score_variant(one=lambda z, t: z[:, 0]), "wrong sign"),
           "one logit turned the wrong way": (score_variant(one=lambda z, t: z[:, 0] * (1 - 2 * t)), "turned"),
           "one logit in absolute value": (score_variant(one=lambda z, t: z[:, 0].abs()), "absolute"),
           "one logit is zero for class 0": (score_variant(one=lambda z, t: z[:, 0] * t), "empty"),
           "one logit, sign by the first target": (score_variant(one=one_by_first), "wrong sign"),
           "clamp kept": (clamp_kept, "ValueError"),
           "negative targets accepted": (score_variant(many=lambda z, t: z[torch.arange(len(t)), t], check=only_too_large), "ValueError"),
           "refused only if all are wrong": (score_variant(many=lambda z, t: z.gather(1, t.clamp(0, z.shape[1] - 1)[:, None])[:, 0], check=only_all), "ValueError"),
           "an IndexError": (score_variant(check=index_error), "ValueError"),
           "an assertion": (score_variant(check=asserted), "ValueError"),
           "one logit, target 2 accepted": (score_variant(check=one_logit_unchecked), "ValueError"),
           "one logit, one class": (one_logit_has_one_class, "two classes"),
           "difference to the other classes": (score_variant(many=lambda z, t: 2 * z.gather(1, t[:, None])[:, 0] - z.sum(1)), "differs"),
           "detached": (score_variant(many=lambda z, t: z.gather(1, t[:, None])[:, 0].detach(), one=lambda z, t: (z[:, 0] * (2 * t - 1)).detach()), "gradient"),
           "a list of numbers": (lambda z, t: [v.item() for v in score_by_gather(z, t)], "tensor"),
           "indexed to (B, B)": (score_variant(many=lambda z, t: z[:, t]), "shape"),
           "a column": (score_variant(many=lambda z, t: z.gather(1, t[:, None]), one=lambda z, t: z * (2 * t[:, None] - 1)), "shape"),
           "summed over the batch": (lambda z, t: score_by_gather(z, t).sum(), "shape"),
           "the largest logit": (score_variant(many=lambda z, t: z.max(1).values), "target"),
           "called": (score_by_gather(torch.tensor([[1., 2.]]), torch.tensor([1])), "function")})

# ---------------------------------------------------------------- survival

PARTS = ["layer4", "fc"]


def survival_short(explain, model, x, target):
    return rank_correlation(explain(model, x, target), explain(randomised(model, PARTS), x, target)).nanmean()


def survival_by_scipy(explain, model, x, target):
    noise = randomised(model, PARTS)
    values = []
    for a, b in zip(explain(model, x, target), explain(noise, x, target)):
        if a.max() == a.min() or b.max() == b.min(): continue
        values.append(spearmanr(a.numpy().ravel(), b.numpy().ravel()).statistic)
    return float(np.mean(values))


def survival_by_hand(explain, model, x, target):
    "An own copy, initialised anew by PyTorch's own rule, and picture by picture"
    noise = copy.deepcopy(model)
    for part in (noise.layer4, noise.fc):
        for m in part.modules():
            if hasattr(m, "reset_parameters"): m.reset_parameters()
    found = torch.cat([rank_correlation(explain(model, x[i:i + 1], target[i:i + 1]), explain(noise, x[i:i + 1], target[i:i + 1])) for i in range(len(x))])
    return found[~found.isnan()].mean().item()


def survival_another_seed(explain, model, x, target):
    r = rank_correlation(explain(randomised(model, PARTS, seed=7), x, target), explain(model, x, target))
    return float(torch.masked_select(r, r == r).mean())


def survival_variant(measure=rank_correlation, mean=torch.nanmean, parts=PARTS):
    return lambda explain, model, x, target: float(mean(measure(explain(model, x, target), explain(randomised(model, parts), x, target))))


def pearson(a, b):
    a, b = (v.flatten(1).double() - v.flatten(1).double().mean(1, keepdim=True) for v in (a, b))
    return (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1))


def ranks_without_ties(a, b):
    return pearson(*(v.flatten(1).argsort(1).argsort(1).double() for v in (a, b)))


def cosine(a, b): return F.cosine_similarity(a.flatten(1), b.flatten(1))


def in_the_model_itself(explain, model, x, target):
    before = explain(model, x, target)
    for part in (model.layer4, model.fc):
        for m in part.modules():
            if hasattr(m, "reset_parameters"): m.reset_parameters()
    return float(rank_correlation(before, explain(model, x, target)).nanmean())


def same_object(explain, model, x, target):
    noise = model
    for m in (*noise.layer4.modules(), *noise.fc.modules()):
        if hasattr(m, "reset_parameters"): m.reset_parameters()
    return float(rank_correlation(explain(model, x, target), explain(noise, x, target)).nanmean())


def not_randomised(explain, model, x, target):
    return float(rank_correlation(explain(model, x, target), explain(copy.deepcopy(model), x, target)).nanmean())


def one_for_the_batch(explain, model, x, target):
    a, b = explain(model, x, target), explain(randomised(model, PARTS), x, target)
    return float(rank_correlation(a[None], b[None])[0])


def everything_anew(explain, model, x, target):
    noise = copy.deepcopy(model)
    for m in noise.modules():
        if hasattr(m, "reset_parameters"): m.reset_parameters()
    return float(rank_correlation(explain(model, x, target), explain(noise, x, target)).nanmean())


def other_targets(explain, model, x, target):
    noise = randomised(model, PARTS)
    with torch.no_grad(): target2 = noise(x).argmax(1)
    return float(rank_correlation(explain(model, x, target), explain(noise, x, target2)).nanmean())


SURVIVAL = dict(
    right={"in one line": survival_short, "scipy, picture by picture": survival_by_scipy, "own copy, reset_parameters": survival_by_hand, "another seed, arguments swapped": survival_another_seed},
    wrong={"Pearson": (survival_variant(pearson), "rank"),
           "cosine": (survival_variant(cosine), "rank"),
           "ranks without ties": (survival_variant(ranks_without_ties), "Ties"),
           "absolute correlation": (survival_variant(lambda a, b: rank_correlation(a, b).abs()), "sign"),
           "absolute value of the mean": (survival_variant(mean=lambda r: r.nanmean().abs()), "sign"),
           "one minus": (survival_variant(mean=lambda r: 1 - r.nanmean()), "1 is all"),
           "nan stays": (survival_variant(mean=torch.mean), "nan"),
           "nan counts as 0": (survival_variant(mean=lambda r: r.nan_to_num(0).mean()), "counted as 0"),
           "the median": (survival_variant(mean=torch.nanmedian), "mean"),
           "one correlation for the batch": (one_for_the_batch, "picture"),
           "the model itself changed": (in_the_model_itself, "copy"),
           "the same object twice": (same_object, "copy"),
           "never randomised": (not_randomised, "randomised copy"),
           "only fc": (survival_variant(parts=["fc"]), "layer4"),
           "only layer4": (survival_variant(parts=["layer4"]), "fc"),
           "everything": (everything_anew, "anew too"),
           "explains another class in the copy": (other_targets, "target"),
           "a number per picture": (lambda e, m, x, t: rank_correlation(e(m, x, t), e(randomised(m, PARTS), x, t)), "single number")})

# ---------------------------------------------------------------- stretched

FOUND = read_maps(experiments_dir() / "oxford_pets_binary_resnet101_ours")


def measured(bias_in_map=0.0, relu=True, answer=None, kind="peak", maps=FOUND.maps):
    logits = torch.einsum("ikhw,ck->ic", maps, FOUND.weight) / 9 + FOUND.bias
    cams = torch.einsum("ikhw,ck->ichw", maps, FOUND.weight) / 9 + bias_in_map * FOUND.bias.view(1, 2, 1, 1)
    cams = (cams.relu() if relu else cams).flatten(2)
    peaks = cams.amax(2) if kind == "peak" else cams.mean(2) if kind == "mean" else cams.abs().amax(2)
    answer = logits.argmax(1) if answer is None else answer
    return peaks[torch.arange(64), answer], peaks[torch.arange(64), 1 - answer]


def counted(own, other, predicted=20, tenth=0.1):
    return dict(predicted=predicted, empty=int((other == 0).sum()), weak=int((other < tenth * own).sum()), stronger=int((other > own).sum()))


def by_numpy():
    "With loops, as the text says it"
    maps, weight, bias = FOUND.maps.numpy(), FOUND.weight.numpy(), FOUND.bias.numpy()
    out = dict(predicted=3.0, empty=0, weak=0, stronger=0)
    for m in maps:
        logit = weight @ m.mean((1, 2)) + bias
        a = int(logit.argmax())
        cam = [np.maximum(np.tensordot(weight[c], m, 1) / 9, 0).max() for c in (a, 1 - a)]
        out["empty"] += int(cam[1] == 0)
        out["weak"] += int(cam[1] < cam[0] / 10)
        out["stronger"] += int(cam[1] > cam[0])
    return out


RIGHT = counted(*measured())
ZERO = torch.zeros(64, dtype=torch.long)
STRETCHED = dict(
    right={"einsum": RIGHT, "loops in NumPy": by_numpy(), "tensors without dimensions": {k: torch.tensor(v) for k, v in RIGHT.items()}, "another guess": {**RIGHT, "predicted": 64}},
    wrong={"the bias in the map": (counted(*measured(bias_in_map=1.0)), "bias"),
           "without the ReLU": (counted(*measured(relu=False)), "ReLU"),
           "the mean instead of the peak": (counted(*measured(kind="mean")), "peak"),
           "absolute values": (counted(*measured(relu=False, kind="abs")), "'empty'"),
           "class 1 always the answer": (counted(*measured(answer=ZERO + 1)), "answer"),
           "class 0 always the answer": (counted(*measured(answer=ZERO)), "answer"),
           "answer and other swapped": (counted(*measured()[::-1]), "swapped"),
           "empty ones not in weak": ({**RIGHT, "weak": RIGHT["weak"] - RIGHT["empty"]}, "empty"),
           "each map stretched first": (counted(*(v / v.clamp(min=1e-9) for v in measured())), "stretch"),
           "half instead of a tenth": (counted(*measured(), tenth=0.5), "'weak'"),
           "shares of 64": ({k: v / 64 for k, v in RIGHT.items()}, "share"),
           "percent": ({k: 100 * v / 64 for k, v in RIGHT.items()}, "whole number"),
           "off by one": ({**RIGHT, "stronger": RIGHT["stronger"] + 1}, "stronger"),
           "no guess": ({k: v for k, v in RIGHT.items() if k != "predicted"}, "predicted"),
           "guess left open": ({**RIGHT, "predicted": None}, "predicted"),
           "an impossible guess": ({**RIGHT, "predicted": 70}, "64"),
           "a guess in words": ({**RIGHT, "predicted": "many"}, "number"),
           "a tuple": (tuple(RIGHT.values()), "dict"),
           "a key misspelt": ({"predicted": 3, "empty": RIGHT["empty"], "weak": RIGHT["weak"], "strong": RIGHT["stronger"]}, "stronger")})

ANSWERS = {"gradcam": GRADCAM, "class_score": CLASS_SCORE, "survival": SURVIVAL, "stretched": STRETCHED}
