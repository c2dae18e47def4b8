"Right and wrong answers to the exercises of lesson 04, written from their text alone."
import copy, io

import torch
from torch import nn
from torch.nn import functional as F

from resnet_course.core import experiments_dir
from resnet_course.records import History


# 1. Figures that can be believed
def by_sums(model, batches):
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for x, y in batches:
            scores = model(x)
            loss += F.cross_entropy(scores, y, reduction="sum").item()
            right += (scores.argmax(1) == y).sum().item()
            count += len(y)
    for m, mode in modes: m.training = mode
    return {"loss": loss / count, "accuracy": right / count}


def all_at_once(model, batches):
    modes = {m: m.training for m in model.modules()}
    with torch.inference_mode():
        model.eval()
        pairs = [(model(x), y) for x, y in batches]
        scores, targets = (torch.cat(part) for part in zip(*pairs))
        found = dict(loss=nn.CrossEntropyLoss()(scores, targets), accuracy=(scores.max(dim=1).indices == targets).float().mean())
    for m, mode in modes.items(): m.train(mode)
    return found


def on_a_copy(model, batches):
    net = copy.deepcopy(model).eval()
    losses, hits = [], []
    with torch.no_grad():
        for x, y in batches:
            log = net(x).log_softmax(1)
            losses += (-log[torch.arange(len(y)), y]).tolist()
            hits += (log.topk(1).indices[:, 0] == y).tolist()
    return {"loss": sum(losses) / len(losses), "accuracy": sum(hits) / len(hits)}


def evaluating(eval_=True, grad=False, softmax=False, means=False, back="each", axis=1, percent=False, squeeze=False, pair=False):
    "`evaluate` with a mistake"
    def evaluate(model, batches):
        modes, was = [(m, m.training) for m in model.modules()], model.training
        if eval_: model.eval()
        loss, right, count = 0.0, 0, 0
        with torch.set_grad_enabled(grad):
            for x, y in batches:
                scores = model(x)
                if softmax: scores = scores.softmax(1)
                if squeeze: scores = scores.squeeze()
                mean, hits = F.cross_entropy(scores, y), (scores.argmax(axis) == y).float()
                if means: loss, right, count = loss + mean.item(), right + hits.mean().item(), count + 1
                else: loss, right, count = loss + mean.item() * len(y), right + hits.sum().item(), count + len(y)
        if back == "each":
            for m, mode in modes: m.training = mode
        elif back == "top": model.train(was)
        elif back == "train": model.train()
        found = {"loss": loss / count, "accuracy": right / count * (100 if percent else 1)}
        return tuple(found.values()) if pair else found
    return evaluate


def two_passes(model, batches):
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    with torch.no_grad():
        loss = sum(F.cross_entropy(model(x), y, reduction="sum").item() for x, y in batches)
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in batches)
        count = sum(len(y) for _, y in batches)
    for m, mode in modes: m.training = mode
    return {"loss": loss / count, "accuracy": right / count}


def length_of_the_generator(model, batches):
    modes = [(m, m.training) for m in model.modules()]
    model.eval()
    loss, right, count = 0.0, 0, 0
    with torch.no_grad():
        for x, y in batches:
            scores = model(x)
            loss, right, count = loss + F.cross_entropy(scores, y).item(), right + (scores.argmax(1) == y).sum().item(), count + len(y)
    for m, mode in modes: m.training = mode
    return {"loss": loss / len(batches), "accuracy": right / count}


def gradients_switched_off_for_good(model, batches):
    torch.set_grad_enabled(False)
    return by_sums(model, batches)


# 2. A loop with five faults
def epoch_by_weights(model, batches, optimizer, scheduler):
    model.train()
    total, count = 0.0, 0
    for x, y in batches:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        total, count = total + loss.item() * len(y), count + len(y)
    return total / count


def epoch_by_autograd(model, batches, optimizer, scheduler):
    for m in model.modules(): m.train()
    losses, sizes = [], []
    parameters = [p for p in model.parameters() if p.requires_grad]
    for x, y in batches:
        loss = F.nll_loss(F.log_softmax(model(x), dim=-1), y)
        for p, g in zip(parameters, torch.autograd.grad(loss, parameters)): p.grad = g
        optimizer.step()
        scheduler.step()
        losses.append(loss.detach())
        sizes.append(y.numel())
    weights = torch.tensor(sizes, dtype=torch.float32)
    return (torch.stack(losses) * weights).sum() / weights.sum()


def epoch_zeroed_after(model, batches, optimizer, scheduler):
    model.train(True)
    optimizer.zero_grad(set_to_none=False)
    seen, criterion = [], nn.CrossEntropyLoss(reduction="none")
    for x, y in batches:
        each = criterion(model(x), y)
        each.mean().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)
        scheduler.step()
        seen.extend(each.tolist())
    return sum(seen) / len(seen)


def looping(train=True, zero="before", softmax=False, schedule="after", means=False, again=False, total_only=False):
    "`train_epoch` with a mistake"
    def train_epoch(model, batches, optimizer, scheduler):
        if train: model.train()
        total, count = 0.0, 0
        if zero == "once": optimizer.zero_grad()
        for x, y in batches:
            if zero == "before": optimizer.zero_grad()
            scores = model(x).softmax(1) if softmax else model(x)
            loss = F.cross_entropy(scores, y)
            loss.backward()
            if zero == "between": optimizer.zero_grad()
            if schedule == "before": scheduler.step()
            optimizer.step()
            if zero == "after": optimizer.zero_grad()
            if schedule == "after": scheduler.step()
            if again: loss = F.cross_entropy(model(x), y)
            if means: total, count = total + loss.item(), count + 1
            else: total, count = total + loss.item() * len(y), count + len(y)
        if schedule == "epoch": scheduler.step()
        return total if total_only else total / count
    return train_epoch


# 3. Weight decay where it belongs
def two_groups(model, weight_decay):
    trained = [p for p in model.parameters() if p.requires_grad]
    return [{"params": [p for p in trained if p.ndim >= 2], "weight_decay": weight_decay}, {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0}]


def a_group_each(model, weight_decay):
    return [dict(params=[p], weight_decay=weight_decay if len(p.shape) > 1 else 0) for p in model.parameters() if p.requires_grad]


def walk_of_modules(model, weight_decay):
    groups, seen = {True: [], False: []}, set()
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if id(p) in seen or not p.requires_grad: continue
            seen.add(id(p))
            groups[p.dim() > 1].append(p)
    return [{"params": ps, "weight_decay": weight_decay * matrices} for matrices, ps in groups.items() if ps]


def grouping(decays, params=lambda model: [(n, p) for n, p in model.named_parameters() if p.requires_grad], rest=0.0):
    "`parameter_groups` with another rule"
    def parameter_groups(model, weight_decay):
        named = params(model)
        groups = [{"params": [p for n, p in named if decays(n, p)], "weight_decay": weight_decay}, {"params": [p for n, p in named if not decays(n, p)]}]
        if rest is not None: groups[1]["weight_decay"] = rest
        return groups
    return parameter_groups


many = lambda name, p: p.ndim >= 2


def kinds_of_layers(model, weight_decay):
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    yes = {m.weight for m in layers if m.weight.requires_grad}
    no = [p for p in model.parameters() if p.requires_grad and not any(p is w for w in yes)]
    return [{"params": list(yes), "weight_decay": weight_decay}, {"params": no, "weight_decay": 0.0}]


def all_but_batchnorm(model, weight_decay):
    free = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    return grouping(lambda n, p: not n.endswith("bias") and id(p) not in free)(model, weight_decay)


def generators(model, weight_decay):
    return [{"params": (p for p in model.parameters() if p.requires_grad and p.ndim >= 2), "weight_decay": weight_decay},
            {"params": (p for p in model.parameters() if p.requires_grad and p.ndim < 2), "weight_decay": 0.0}]


def tensors_copied(model, weight_decay):
    return [{"params": [nn.Parameter(p.detach().clone()) for p in g["params"]], "weight_decay": g["weight_decay"]} for g in two_groups(model, weight_decay)]


# 4. Continue as if nothing had happened
def snapshot(model, optimizer, scheduler, epoch):
    return copy.deepcopy(dict(model=model.state_dict(), optimizer=optimizer.state_dict(), scheduler=scheduler.state_dict(), epoch=epoch))


def restore(saved, model, optimizer, scheduler):
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    scheduler.load_state_dict(saved["scheduler"])
    return saved["epoch"]


def through_bytes(model, optimizer, scheduler, epoch):
    file = io.BytesIO()
    torch.save([model.state_dict(), optimizer.state_dict(), scheduler.state_dict()], file)
    file.seek(0)
    return {"epoch": epoch, "states": torch.load(file, weights_only=True)}


def from_bytes(saved, model, optimizer, scheduler):
    for part, state in zip((model, optimizer, scheduler), saved["states"]): part.load_state_dict(state)
    return int(saved["epoch"])


def cloned(value):
    if isinstance(value, torch.Tensor): return value.detach().clone()
    if isinstance(value, dict): return {k: cloned(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)): return type(value)(cloned(v) for v in value)
    return value


def one_by_one(model, optimizer, scheduler, epoch):
    return {"weights": [p.detach().clone() for p in model.parameters()], "buffers": [b.clone() for b in model.buffers()],
            "optimizer": cloned(optimizer.state_dict()), "scheduler": cloned(scheduler.state_dict()), "epoch": epoch}


def put_one_by_one(saved, model, optimizer, scheduler):
    with torch.no_grad():
        for p, value in zip(model.parameters(), saved["weights"]): p.copy_(value)
        for b, value in zip(model.buffers(), saved["buffers"]): b.copy_(value)
    scheduler.load_state_dict(saved["scheduler"])
    optimizer.load_state_dict(saved["optimizer"])
    return saved["epoch"]


def lacking(*keys):
    "A pair that does not keep these parts"
    def take(model, optimizer, scheduler, epoch): return {k: v for k, v in snapshot(model, optimizer, scheduler, epoch).items() if k not in keys}
    def put(saved, model, optimizer, scheduler):
        for name, part in dict(model=model, optimizer=optimizer, scheduler=scheduler).items():
            if name in saved: part.load_state_dict(saved[name])
        return saved["epoch"]
    return take, put


def aliased(model, optimizer, scheduler, epoch):
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "epoch": epoch}


def shallow(model, optimizer, scheduler, epoch):
    return {"model": model.state_dict().copy(), "optimizer": optimizer.state_dict().copy(), "scheduler": scheduler.state_dict().copy(), "epoch": epoch}


def only_the_model_copied(model, optimizer, scheduler, epoch):
    return {**aliased(model, optimizer, scheduler, epoch), "model": copy.deepcopy(model.state_dict())}


def parameters_only(model, optimizer, scheduler, epoch):
    return {**snapshot(model, optimizer, scheduler, epoch), "model": {n: p.detach().clone() for n, p in model.named_parameters()}}


def load_loosely(saved, model, optimizer, scheduler):
    model.load_state_dict(saved["model"], strict=False)
    return restore({**saved, "model": model.state_dict()}, model, optimizer, scheduler)


def objects(model, optimizer, scheduler, epoch):
    return copy.deepcopy({"model": model, "optimizer": optimizer, "scheduler": scheduler, "epoch": epoch})


def from_objects(saved, model, optimizer, scheduler):
    return restore({k: v if k == "epoch" else v.state_dict() for k, v in saved.items()}, model, optimizer, scheduler)


def in_half(model, optimizer, scheduler, epoch):
    saved = snapshot(model, optimizer, scheduler, epoch)
    return {**saved, "model": {k: v.half() if v.is_floating_point() else v for k, v in saved["model"].items()}}


def switched_to_evaluation(model, optimizer, scheduler, epoch):
    model.eval()
    return snapshot(model, optimizer, scheduler, epoch)


def stepped_too(model, optimizer, scheduler, epoch):
    scheduler.step()
    return snapshot(model, optimizer, scheduler, epoch)


def forgot_to_return(saved, model, optimizer, scheduler): restore(saved, model, optimizer, scheduler)
def next_epoch(saved, model, optimizer, scheduler): return restore(saved, model, optimizer, scheduler) + 1
def as_a_list(model, optimizer, scheduler, epoch): return list(snapshot(model, optimizer, scheduler, epoch).values())
def from_a_list(saved, model, optimizer, scheduler): return restore(dict(zip(("model", "optimizer", "scheduler", "epoch"), saved)), model, optimizer, scheduler)


# 5. Read a training
READ = dict(lowest_val_loss=5, best_val_accuracy=7, stops_after=12, gap=34.6, verdict="overfits", report="best on validation")


def by_code():
    history = History.from_csv(experiments_dir() / "oxford_pets_binary_resnet101" / "history.csv")
    loss, accuracy = (torch.tensor([float(v) for v in history.column(c)]) for c in ("val_loss", "val_accuracy"))
    best = accuracy.argmax() + 1
    gap = 100 * (history.column("train_accuracy")[-1] - history.column("val_accuracy")[-1])
    return {**READ, "lowest_val_loss": loss.argmin() + 1, "best_val_accuracy": best, "stops_after": int(best) + 5, "gap": float(gap)}


ANSWERS = {
    "evaluate": dict(
        right={"sums": by_sums, "all scores at once": all_at_once, "on a copy": on_a_copy},
        wrong={
            "eval() forgotten": (evaluating(eval_=False), "eval()"),
            "mean of the batches' means": (evaluating(means=True), "mean of batch means"),
            "stays in evaluation mode": (evaluating(back=None), "evaluation mode"),
            "train() at the end": (evaluating(back="train"), "mode"),
            "only the whole model's mode put back": (evaluating(back="top"), "submodule"),
            "gradients recorded": (evaluating(grad=True), "no_grad"),
            "softmax before the cross-entropy": (evaluating(softmax=True), "softmax"),
            "accuracy in percent": (evaluating(percent=True), "fraction"),
            "argmax over the samples": (evaluating(axis=0), "size of tensor"),
            "squeezed": (evaluating(squeeze=True), "batches of 5, 7, 3 and 1"),
            "a pair": (evaluating(pair=True), "dict"),
            "three passes": (two_passes, "a generator of batches"),
            "the generator's length": (length_of_the_generator, "mean of batch means"),
            "gradients switched off for good": (gradients_switched_off_for_good, "no_grad"),
        }),
    "train_epoch": dict(
        right={"weighed by size": epoch_by_weights, "autograd.grad": epoch_by_autograd, "zeroed after the step": epoch_zeroed_after},
        wrong={
            "softmax left": (looping(softmax=True), "softmax"),
            "train() missing": (looping(train=False), "train()"),
            "never zeroed": (looping(zero=None), "zero_grad"),
            "zeroed once an epoch": (looping(zero="once"), "zero_grad"),
            "zeroed between backward and step": (looping(zero="between"), "zero_grad"),
            "zeroed after the step alone": (looping(zero="after"), "before the epoch"),
            "scheduler once an epoch": (looping(schedule="epoch"), "scheduler"),
            "scheduler before the optimizer": (looping(schedule="before"), "scheduler"),
            "scheduler never": (looping(schedule=None), "not stepped"),
            "mean of the batches' means": (looping(means=True), "mean of"),
            "loss measured after the step": (looping(again=True), "computed for the step"),
            "not divided": (looping(total_only=True), "mean loss"),
            "as it was": (looping(train=False, zero=None, softmax=True, schedule="epoch", means=True), "all five faults"),
        }),
    "parameter_groups": dict(
        right={"two groups": two_groups, "a group each": a_group_each, "walk of modules": walk_of_modules},
        wrong={
            "by names": (grouping(lambda n, p: "bn" not in n and "bias" not in n), "name"),
            "all called weight": (grouping(lambda n, p: n.endswith("weight")), "called `weight`"),
            "by kinds of layers": (kinds_of_layers, "dimension"),
            "all but BatchNorm and biases": (all_but_batchnorm, "dimension"),
            "everything decays": (grouping(lambda n, p: True), "BatchNorm"),
            "filters only, no matrices": (grouping(lambda n, p: p.ndim > 2), "dimension"),
            "the wrong way round": (grouping(lambda n, p: p.ndim < 2), "dimension"),
            "frozen ones too": (grouping(many, lambda model: list(model.named_parameters())), "frozen"),
            "shared ones twice": (grouping(many, lambda model: [(n, p) for n, p in model.named_parameters(remove_duplicate=False) if p.requires_grad]), "once"),
            "no weight_decay in a group": (grouping(many, rest=None), "AdamW"),
            "the example's number": (lambda model, weight_decay: two_groups(model, 5e-4), "weight_decay"),
            "generators": (generators, "list"),
            "a dict": (lambda model, weight_decay: two_groups(model, weight_decay)[0], "list"),
            "copies": (tensors_copied, "parameter"),
        }),
    "exact_resume": dict(
        right={"deep copies": (snapshot, restore), "through bytes": (through_bytes, from_bytes), "one by one": (one_by_one, put_one_by_one)},
        wrong={
            "no optimizer": (lacking("optimizer"), "optimizer"),
            "no scheduler": (lacking("scheduler"), "scheduler"),
            "weights alone": (lacking("optimizer", "scheduler"), "optimizer"),
            "no copy": ((aliased, restore), "copy"),
            "a shallow copy": ((shallow, restore), "copy"),
            "only the model copied": ((only_the_model_copied, restore), "copy"),
            "no buffers": ((parameters_only, load_loosely), "statistics"),
            "objects": ((objects, from_objects), "weights_only"),
            "half precision": ((in_half, restore), "weights"),
            "left in evaluation mode": ((switched_to_evaluation, restore), "mode"),
            "steps the scheduler": ((stepped_too, restore), "changed the training"),
            "no epoch returned": ((snapshot, forgot_to_return), "return"),
            "the next epoch": ((snapshot, next_epoch), "epoch"),
            "a list": ((as_a_list, from_a_list), "dict"),
            "one function": (snapshot, "tuple"),
        }),
    "read_a_training": dict(
        right={"by eye": READ, "by code, not rounded": by_code()},
        wrong={
            "counted from 0": ({**READ, "lowest_val_loss": 4}, "from 1"),
            "columns mixed up": ({**READ, "lowest_val_loss": 7}, "loss"),
            "accuracy's epoch from 0": ({**READ, "best_val_accuracy": 6}, "from 1"),
            "epoch of the best training accuracy": ({**READ, "best_val_accuracy": 26}, "train"),
            "one epoch early": ({**READ, "stops_after": 11}, "stops_after"),
            "one epoch late": ({**READ, "stops_after": 13}, "stops_after"),
            "patience on the loss": ({**READ, "stops_after": 10}, "loss"),
            "a fraction": ({**READ, "gap": 0.346}, "fraction"),
            "the wrong sign": ({**READ, "gap": -34.6}, "sign"),
            "gap of the best epoch": ({**READ, "gap": 4.6}, "last one"),
            "another word": ({**READ, "verdict": "underfits"}, "verdict"),
            "the loss rises, so it diverges": ({**READ, "verdict": "diverges"}, "training"),
            "chosen on test": ({**READ, "report": "best on test"}, "test"),
            "one left open": ({**READ, "gap": None}, "gap"),
            "one is missing": ({k: v for k, v in READ.items() if k != "report"}, "report"),
        }),
}
