"Answers to the exercises of lesson 06, written from their text alone: right ones to be accepted, wrong ones with words that the message must hold."
import copy

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from resnet_course.core import experiments_dir
from resnet_course.records import History

# ---------------------------------------------------------------- small_stem


def stem_in_place(model):
    old = model.conv1
    model.conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


def stem_of_a_copy(model):
    model = copy.deepcopy(model)
    out, inside = model.conv1.weight.shape[:2]
    model.conv1 = nn.Conv2d(inside, out, kernel_size=(3, 3), stride=(1, 1), padding="same", bias=False).train(model.training)
    model.maxpool = nn.Sequential()
    return model


def stem_with_a_pool_of_one(model):
    model.conv1 = nn.Conv2d(model.conv1.in_channels, model.conv1.out_channels, 3, 1, 1, bias=False)
    model.maxpool = nn.MaxPool2d(1)
    return model


def stem(inside=None, outside=None, kernel=3, stride=1, padding=1, bias=False, pool=nn.Identity, before=lambda m: m, after=lambda m: m, conv=lambda new, old: new):
    def small_stem(model):
        before(model)
        old = model.conv1
        model.conv1 = conv(nn.Conv2d(inside or old.in_channels, outside or old.out_channels, kernel, stride, padding, bias=bias), old)
        if pool: model.maxpool = pool()
        return after(model)
    return small_stem


def cut_out(new, old):
    with torch.no_grad(): new.weight.copy_(old.weight[:, :, 2:5, 2:5])
    return new


def zeros(new, old):
    nn.init.zeros_(new.weight)
    return new


def conv_changed(model):
    model.conv1.kernel_size, model.conv1.stride, model.conv1.padding = (3, 3), (1, 1), (1, 1)
    model.maxpool = nn.Identity()
    return model


def pool_deleted(model):
    stem_in_place(model)
    del model.maxpool
    return model


def pool_none(model):
    stem_in_place(model)
    model.maxpool = None
    return model


def only_the_list(model):
    stem_in_place(model)
    return nn.Sequential(*model.children())


def new_network(model):
    for m in stem_in_place(model).modules():
        if hasattr(m, "reset_parameters"): m.reset_parameters()
    return model


def classifier_too(model):
    stem_in_place(model)
    model.fc = nn.Linear(model.fc.in_features, 10)
    return model


def block_too(model):
    stem_in_place(model)
    model.bn1 = nn.BatchNorm2d(model.conv1.out_channels)
    return model


SMALL_STEM = dict(
    right={"in place": stem_in_place, "of a copy": stem_of_a_copy, "a pool of one": stem_with_a_pool_of_one},
    wrong={"with a bias": (stem(bias=True), "bias"),
           "no padding": (stem(padding=0), "padding"),
           "stride 2": (stem(stride=2), "stride"),
           "7x7 of stride 1": (stem(kernel=7, padding=3), "3 x 3"),
           "pool kept": (stem(pool=None), "maxpool"),
           "pool of stride 1": (stem(pool=lambda: nn.MaxPool2d(3, 1, 1)), "maxpool"),
           "3 and 64 channels": (stem(inside=3, outside=64), "channels"),
           "3 channels in": (stem(inside=3), "channels"),
           "64 channels out": (stem(outside=64), "channels"),
           "channels exchanged": (lambda m: stem(inside=m.conv1.out_channels, outside=m.conv1.in_channels)(m), "channels"),
           "the middle of the old filters": (stem(conv=cut_out), "initialise"),
           "zeros": (stem(conv=zeros), "initialise"),
           "only the settings changed": (conv_changed, "weight"),
           "pool deleted": (pool_deleted, "maxpool"),
           "pool None": (pool_none, "maxpool"),
           "nothing returned": (stem(after=lambda m: None), "return"),
           "the stem returned": (stem(after=lambda m: m.conv1), "conv1"),
           "a Sequential of the children": (only_the_list, "name"),
           "everything anew": (new_network, "not what it was"),
           "in training mode": (stem(after=lambda m: m.train()), "mode"),
           "in evaluation mode": (stem(after=lambda m: m.eval()), "mode"),
           "ten classes": (classifier_too, "fc"),
           "a new BatchNorm": (block_too, "bn1"),
           "conv1 in a Sequential": (stem(conv=lambda new, old: nn.Sequential(new)), "Conv2d"),
           "half precision": (stem(after=lambda m: m.half()), "float"),
           "frozen": (stem(after=lambda m: m.requires_grad_(False)), "requires_grad"),
           "the class": (nn.Identity, "conv1")})

# ---------------------------------------------------------------- live_weights


def live_by_formula(k, h, w): return min(k, 2 * h - 1) * min(k, 2 * w - 1)


def live_by_loops(k, h, w):
    "Is there an output place whose neighbour in that direction lies on the map?"
    half, live = k // 2, 0
    for dy in range(-half, half + 1):
        for dx in range(-half, half + 1):
            live += any(0 <= y + dy < h for y in range(h)) and any(0 <= x + dx < w for x in range(w))
    return live


def live_by_gradient(k, h, w):
    weight = torch.zeros(1, 1, k, k, requires_grad=True)
    F.conv2d(torch.ones(1, 1, h, w), weight, padding=k // 2).sum().backward()
    return int((weight.grad != 0).sum())


LIVE_WEIGHTS = dict(
    right={"formula": live_by_formula, "loops": live_by_loops, "gradient": live_by_gradient},
    wrong={"no more than places": (lambda k, h, w: min(k, h) * min(k, w), "lay still"),
           "places of the map": (lambda k, h, w: min(k * k, h * w), "lay still"),
           "by the area": (lambda k, h, w: min(k * k, (2 * h - 1) * (2 * w - 1)), "side"),
           "not more than k forgotten": (lambda k, h, w: (2 * h - 1) * (2 * w - 1), "kernel"),
           "all": (lambda k, h, w: k * k, "all"),
           "square maps only": (lambda k, h, w: min(k, 2 * h - 1) ** 2, "rows and columns"),
           "square maps only, by w": (lambda k, h, w: min(k, 2 * w - 1) ** 2, "rows and columns"),
           "the smaller side": (lambda k, h, w: min(k, 2 * min(h, w) - 1) ** 2, "rows and columns"),
           "twice without one": (lambda k, h, w: min(k, 2 * h) * min(k, 2 * w), "the middle counts once"),
           "one too many": (lambda k, h, w: min(k, h + 1) * min(k, w + 1), "plus one"),
           "by the padding": (lambda k, h, w: min(k, h + k // 2) * min(k, w + k // 2), "should be 35"),
           "3x3 only": (lambda k, h, w: min(3, 2 * h - 1) * min(3, 2 * w - 1), "should be 35"),
           "only the middle place": (lambda k, h, w: sum(abs(i - k // 2) <= h // 2 and abs(j - k // 2) <= w // 2 for i in range(k) for j in range(k)), "should be 35"),
           "the dead": (lambda k, h, w: k * k - live_by_formula(k, h, w), "live"),
           "a float": (lambda k, h, w: float(live_by_formula(k, h, w)), "int"),
           "a share": (lambda k, h, w: live_by_formula(k, h, w) / k ** 2, "is a float"),
           "a pair": (lambda k, h, w: (min(k, 2 * h - 1), min(k, 2 * w - 1)), "should be 35"),
           "the number": (1, "function")})

# ---------------------------------------------------------------- equal_time

small = History.from_csv(experiments_dir() / "resnet20_cifar10" / "history.csv")
large = History.from_csv(experiments_dir() / "resnet50_cifar10_one_epoch" / "history.csv")
SMALL, (LARGE,) = list(small), list(large)


def by_a_loop():
    spent, last = 0.0, None
    for row in SMALL:
        spent += row["seconds"]
        if spent > LARGE["seconds"]: break
        last = row
    return dict(epoch=last["epoch"], small=last["train_accuracy"], large=LARGE["train_accuracy"], slower=LARGE["seconds"] / (sum(r["seconds"] for r in SMALL) / len(SMALL)), worse=False)


def by_numpy():
    seconds = np.array([r["seconds"] for r in SMALL])
    n = int(np.searchsorted(np.cumsum(seconds), LARGE["seconds"], side="right"))
    return dict(epoch=np.int64(SMALL[n - 1]["epoch"]), small=round(SMALL[n - 1]["train_accuracy"], 3), large=round(LARGE["train_accuracy"], 3), slower=round(float(LARGE["seconds"] / seconds.mean()), 1), worse=np.bool_(False))


RIGHT = by_a_loop()
AT = [r["epoch"] for r in SMALL].index(RIGHT["epoch"])
TIMES = [r["seconds"] for r in SMALL]
EQUAL_TIME = dict(
    right={"a loop": RIGHT, "NumPy, rounded": by_numpy(), "tensors": {**RIGHT, "small": torch.tensor(RIGHT["small"]), "slower": torch.tensor(RIGHT["slower"])}},
    wrong={"the epoch that runs": ({**RIGHT, "epoch": SMALL[AT + 1]["epoch"], "small": SMALL[AT + 1]["train_accuracy"]}, "was not over"),
           "counted from 0": ({**RIGHT, "epoch": RIGHT["epoch"] - 1}, "column"),
           "by the first epoch": ({**RIGHT, "epoch": int(LARGE["seconds"] / TIMES[0])}, "epoch"),
           "all 36": ({**RIGHT, "epoch": 36, "small": SMALL[-1]["train_accuracy"]}, "36"),
           "after one epoch": ({**RIGHT, "epoch": 1, "small": SMALL[0]["train_accuracy"]}, "time"),
           "the last accuracy": ({**RIGHT, "small": SMALL[-1]["train_accuracy"]}, "last"),
           "the epoch before": ({**RIGHT, "small": SMALL[AT - 1]["train_accuracy"]}, "'small'"),
           "top 5": ({**RIGHT, "large": LARGE["train_top5"]}, "top-5"),
           "test accuracies": ({**RIGHT, "small": 0.91, "large": 0.46}, "'large'"),
           "percent": ({**RIGHT, "small": 100 * RIGHT["small"], "large": 100 * RIGHT["large"]}, "from 0 to 1"),
           "exchanged": ({**RIGHT, "small": RIGHT["large"], "large": RIGHT["small"]}, "small"),
           "faster": ({**RIGHT, "slower": 1 / RIGHT["slower"]}, "other way round"),
           "by all epochs": ({**RIGHT, "slower": LARGE["seconds"] / sum(TIMES)}, "mean"),
           "by the first epoch's time": ({**RIGHT, "slower": LARGE["seconds"] / TIMES[0]}, "mean"),
           "by the median": ({**RIGHT, "slower": LARGE["seconds"] / float(np.median(TIMES))}, "'slower'"),
           "seconds": ({**RIGHT, "slower": LARGE["seconds"]}, "slower"),
           "worse": ({**RIGHT, "worse": True}, "one epoch"),
           "a word": ({**RIGHT, "worse": "no"}, "True or False"),
           "left open": ({**RIGHT, "slower": None}, "slower"),
           "half an epoch": ({**RIGHT, "epoch": RIGHT["epoch"] + 0.5}, "whole number"),
           "a list": (list(RIGHT.values()), "dict")})

ANSWERS = {"small_stem": SMALL_STEM, "live_weights": LIVE_WEIGHTS, "equal_time": EQUAL_TIME}
