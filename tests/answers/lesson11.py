"Right and wrong answers to the exercises of lesson 11, written from their text alone."
import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from resnet_course.features import capture


# 1. Which networks degraded?
DEGRADED = dict(degraded=["plain32", "plain44", "plain56"], caught_up=3)


# 2. How much gradient arrives?
def root_of_mean_square(t): return t.double().pow(2).mean().sqrt().item()


def on_a_copy(model, x, y):
    net = copy.deepcopy(model).train()
    convolutions, answers = [m for m in net.modules() if isinstance(m, nn.Conv2d)], {}
    for place in (0, -1): convolutions[place].register_forward_hook(lambda m, args, out, place=place: answers.update({place: out}))
    first, last = torch.autograd.grad(F.cross_entropy(net(x), y), [answers[0], answers[-1]])
    return root_of_mean_square(first) / max(root_of_mean_square(last), 1e-30)


def measuring(train=True, top=0, bottom=-1, of=root_of_mean_square, at_weights=False, buffers=True, modes=True, cleared=True, unhooked=True, least=1e-30, reduction="mean", kinds=nn.Conv2d, softmax=False):
    "`gradient_ratio` with hooks and, if asked for, a mistake"
    def gradient_ratio(model, x, y):
        was, kept = [(m, m.training) for m in model.modules()], {n: b.clone() for n, b in model.named_buffers()}
        grads = [(p, p.grad) for p in model.parameters()]
        layers, answers, handles = [m for m in model.modules() if isinstance(m, kinds)], {}, []
        model.train(train)
        for place in (top, bottom):
            def hook(m, args, out, place=place):
                out.retain_grad()
                answers[place] = out
            handles.append(layers[place].register_forward_hook(hook))
        scores = model(x)
        F.cross_entropy(scores.softmax(1) if softmax else scores, y, reduction=reduction).backward()
        first, last = (of(layers[i].weight.grad if at_weights else answers[i].grad) for i in (top, bottom))
        if unhooked:
            for h in handles: h.remove()
        if cleared:
            for p, g in grads: p.grad = g
        if buffers:
            for n, b in model.named_buffers(): b.copy_(kept[n])
        if modes:
            for m, mode in was: m.training = mode
        return first / max(last, least) if least else first / last
    return gradient_ratio


def one_mode_for_all(model, x, y):
    was = model.training
    found = measuring()(model, x, y)
    model.train(was)
    return found


def with_capture(model, x, y):
    net = copy.deepcopy(model)
    net.train()
    names = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    with capture(net, [names[0], names[-1]], gradients=True) as kept:
        nn.CrossEntropyLoss()(net(x), y).backward()
    first, last = (kept.gradients[n] for n in (names[0], names[-1]))
    return float(first.square().mean().sqrt() / last.square().mean().sqrt().clamp(min=1e-30))


# 3. Do gradients vanish?
FOUND = dict(plain="grows", plain_without_norm="stays", plain_small="vanishes", residual="stays")


# 4. A clean road
class Block(nn.Module):
    "The constructor, as given"
    def __init__(self, planes):
        super().__init__()
        self.bn1, self.bn2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.conv1 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)


class OneLine(Block):
    def forward(self, x): return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class StepByStep(Block):
    def forward(self, x):
        out = torch.relu(self.bn1(x))
        out = self.conv1(out)
        out = self.bn2(out).clamp(min=0)
        return torch.add(self.conv2(out), x)


class AsItWas(Block):
    def forward(self, x):
        x = F.relu(self.bn1(x))
        branch = self.conv2(F.relu(self.bn2(self.conv1(x))))
        return F.relu(0.9 * x + branch)


class NormOnTheRoad(Block):
    def forward(self, x):
        x = F.relu(self.bn1(x))
        return x + self.conv2(F.relu(self.bn2(self.conv1(x))))


class OnlyNormOnTheRoad(Block):
    def forward(self, x):
        x = self.bn1(x)
        return x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(x)))))


class ReluAtTheEnd(Block):
    def forward(self, x): return F.relu(x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x)))))))


class ATenthLess(Block):
    def forward(self, x): return 0.9 * x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class TwoLeft(Block):
    def forward(self, x): return F.relu(0.9 * x + self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x)))))))


class InPlace(Block):
    def forward(self, x):
        branch = self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))
        x += branch
        return x


class AfterActivation(Block):
    def forward(self, x): return x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))


class NoFirstRelu(Block):
    def forward(self, x): return x + self.conv2(F.relu(self.bn2(self.conv1(self.bn1(x)))))


class NoShortcut(Block):
    def forward(self, x): return self.conv2(F.relu(self.bn2(self.conv1(F.relu(self.bn1(x))))))


class OtherNames(nn.Module):
    def __init__(self, planes):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.first, self.second = (nn.Conv2d(planes, planes, 3, padding=1, bias=False) for _ in range(2))
    def forward(self, x): return x + self.second(F.relu(self.norm2(self.first(F.relu(self.norm1(x))))))


# 5. An experiment
def designed(networks=("plain20", "resnet20", "plain56", "resnet56"), judged_by="train_loss", own=None, settings=None):
    return dict(networks=list(networks), judged_by=judged_by, settings={"training.epochs": 12, "seeds": [0, 1, 2]} if settings is None else settings, own=own or {})


ANSWERS = {
    "read_depth": dict(
        right={"in order": DEGRADED, "another order, a NumPy number": dict(degraded=["plain56", "plain32", "plain44"], caught_up=np.int64(3))},
        wrong={
            "any worse at all": ({**DEGRADED, "degraded": DEGRADED["degraded"] + ["resnet44"]}, "half a point"),
            "judged on validation": ({**DEGRADED, "degraded": DEGRADED["degraded"] + ["resnet44", "resnet56"]}, "validation"),
            "all deeper ones": ({**DEGRADED, "degraded": [f"{k}{n}" for k in ("plain", "resnet") for n in (32, 44, 56)]}, "resnet"),
            "the deepest alone": ({**DEGRADED, "degraded": ["plain56"]}, "so did others"),
            "the shallow one too": ({**DEGRADED, "degraded": ["plain20"] + DEGRADED["degraded"]}, "plain20 is none of"),
            "none": ({**DEGRADED, "degraded": []}, "some networks did"),
            "counted from 0": ({**DEGRADED, "caught_up": 2}, "begins with 0"),
            "validation loss": ({**DEGRADED, "caught_up": 4}, "validation"),
            "the last epoch": ({**DEGRADED, "caught_up": 12}, "not after epoch 12"),
            "one left open": ({**DEGRADED, "caught_up": None}, "caught_up"),
            "one name as a string": ({**DEGRADED, "degraded": "plain56"}, "list"),
        }),
    "gradient_ratio": dict(
        right={"on a copy": on_a_copy, "hooks": measuring(), "capture": with_capture, "summed loss, same ratio": measuring(reduction="sum")},
        wrong={
            "at the weights": (measuring(at_weights=True), "weight"),
            "evaluation mode": (measuring(train=False), "evaluation mode"),
            "last by first": (measuring(top=-1, bottom=0), "last over the first"),
            "length instead of the root of the mean": (measuring(of=lambda t: t.double().norm().item()), "mean"),
            "mean of the absolute values": (measuring(of=lambda t: t.double().abs().mean().item()), "root"),
            "mean square without a root": (measuring(of=lambda t: t.double().pow(2).mean().item()), "root"),
            "second convolution": (measuring(top=1), "second convolution"),
            "last but one": (measuring(bottom=-2), "last but one"),
            "the classifier as the last": (measuring(kinds=(nn.Conv2d, nn.Linear)), "linear layer"),
            "statistics changed": (measuring(buffers=False), "statistics"),
            "mode changed": (measuring(modes=False), "mode"),
            "one mode for all layers": (one_mode_for_all, "layer1.0.bn1"),
            "gradients left": (measuring(cleared=False), "gradient"),
            "hooks left": (measuring(unhooked=False), "hook"),
            "zero over zero": (measuring(least=None), "no gradient arrives"),
            "not so little": (measuring(least=1e-3), "should be"),
            "softmax": (measuring(softmax=True), "softmax"),
        }),
    "vanishing": dict(
        right={"measured": FOUND, "in another order": dict(reversed(FOUND.items()))},
        wrong={
            "what nine in ten say": (dict(FOUND, plain="vanishes"), "BatchNorm"),
            "a little is not vanishing": (dict(FOUND, plain_without_norm="vanishes"), "a hundredth"),
            "grows without BatchNorm": (dict(FOUND, plain_without_norm="grows"), "plain_without_norm"),
            "small weights stay": (dict(FOUND, plain_small="stays"), "plain_small"),
            "residual vanishes": (dict(FOUND, residual="vanishes"), "residual"),
            "residual grows": (dict(FOUND, residual="grows"), "residual"),
            "all stay": ({k: "stays" for k in FOUND}, "plain"),
            "numbers": (dict(FOUND, plain=12000.0), "text in quotes"),
            "another word": (dict(FOUND, plain="explodes"), "grows"),
            "one left open": (dict(FOUND, residual=None), "residual"),
        }),
    "CleanBlock": dict(
        right={"one line": OneLine, "step by step": StepByStep},
        wrong={
            "as it was": (AsItWas, "road"),
            "normalised road": (NormOnTheRoad, "road"),
            "BatchNorm alone on the road": (OnlyNormOnTheRoad, "road"),
            "ReLU at the end": (ReluAtTheEnd, "ReLU"),
            "0.9": (ATenthLess, "0.9"),
            "two left": (TwoLeft, "0.9"),
            "in place": (InPlace, "place"),
            "conv, norm, relu": (AfterActivation, "order"),
            "first ReLU missing": (NoFirstRelu, "ReLU behind bn1"),
            "no shortcut": (NoShortcut, "branch alone"),
            "an object": (OneLine(3), "class"),
            "other names": (OtherNames, "bn1"),
        }),
    "design": dict(
        right={"two depths": designed(), "eight networks": designed([f"{k}{n}" for n in (20, 32, 44, 56) for k in ("resnet", "plain")], "train_accuracy", settings={"seeds": [3, 14, 15, 92], "training.lr": 0.1})},
        wrong={
            "no twins": (designed(["plain20", "resnet56"]), "twin"),
            "one twin missing": (designed(["plain20", "resnet20", "plain56"]), "resnet56"),
            "one depth": (designed(["plain56", "resnet56"]), "one depth"),
            "residual ones alone": (designed(["resnet20", "resnet56"]), "plain"),
            "test accuracy": (designed(judged_by="test_accuracy"), "training"),
            "validation loss": (designed(judged_by="val_loss"), "training"),
            "one seed": (designed(settings={"training.epochs": 12, "seeds": [0]}), "three"),
            "three times the same": (designed(settings={"training.epochs": 12, "seeds": [0, 0, 0]}), "twice"),
            "no seeds": (designed(settings={"training.epochs": 12}), "seeds"),
            "own settings": (designed(own={"resnet56": {"training.warmup_epochs": 5.0}}), "own"),
            "own for all": (designed(own={n: {"training.lr": 0.1} for n in ("plain20", "resnet20", "plain56", "resnet56")}), "own"),
            "model.name": (designed(settings={"model.name": "resnet20", "seeds": [0, 1, 2]}), "model.name"),
            "no such network": (designed(["plain20", "resnet20", "plain50", "resnet50"]), "plain50"),
            "no such setting": (designed(settings={"training.epoch": 12, "seeds": [0, 1, 2]}), "training.epoch"),
        }),
}
