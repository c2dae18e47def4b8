"Answers to the exercises of lesson 02, written from their text alone."
from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional as F

# 1. what_is_left: each of the five strides halves and rounds up, so 97 px is the first that leaves 4
SIDES = dict(imagenet_224=[56, 28, 14, 7], imagenet_32=[8, 4, 2, 1], cifar_32=[32, 16, 8, 4], smallest=97)


# 2. bottleneck_macs
def macs(inplanes, planes, stride, side):
    after = (side + stride - 1) // stride
    total = side**2 * inplanes * planes + after**2 * (9 * planes**2 + 4 * planes**2)
    if stride == 2 or inplanes != 4 * planes: total += after**2 * inplanes * 4 * planes
    return total


def macs_by_convolution(inplanes, planes, stride, side):
    def conv(into, out, kernel, stride, size):
        size = (size + 2 * (kernel // 2) - kernel) // stride + 1
        return size * size * into * out * kernel * kernel, size
    first, size = conv(inplanes, planes, 1, 1, side)
    second, size = conv(planes, planes, 3, stride, size)
    third, _ = conv(planes, 4 * planes, 1, 1, size)
    fourth = 0 if stride == 1 and inplanes == 4 * planes else conv(inplanes, 4 * planes, 1, stride, side)[0]
    return first + second + third + fourth


def macs_wrong(both=False, v1=False, projection="both", down=False, last=4, kernel=9, batchnorm=False, divide=False, stride_late=False, projection_size="after"):
    "The count with one mistake."
    def bottleneck_macs(inplanes, planes, stride, side):
        after = side / stride if divide else side // stride if down else -(-side // stride)
        first = after if v1 else side
        second = side if stride_late else after
        total = first**2 * inplanes * planes + second**2 * kernel * planes**2 + after**2 * planes * last * planes
        need = {"both": stride != 1 or inplanes != 4 * planes, "stride": stride != 1, "channels": inplanes != 4 * planes, "never": False, "always": True}[projection]
        if need: total += (after if projection_size == "after" else side)**2 * inplanes * last * planes
        if batchnorm: total += first**2 * planes + after**2 * 5 * planes
        return 2 * total if both else total
    return bottleneck_macs


# 3. thin_resnet
def resnet20(stem=(3, 1, 1), bias=False, relu_before_sum=False, pad="both", stages=(1, 2, 2), pool="mean", last_relu=True, width=16, stride_late=False, take="skip", extra_relu=True):
    "The class of a ResNet-20, by default without a mistake."
    class Block(nn.Module):
        def __init__(self, inplanes, planes, stride):
            super().__init__()
            first, second = (1, stride) if stride_late else (stride, 1)
            self.conv1 = nn.Conv2d(inplanes, planes, 3, stride=first, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride=second, padding=1, bias=bias)
            self.bn2 = nn.BatchNorm2d(planes)
            self.stride, self.more = stride, planes - inplanes

        def forward(self, x):
            out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
            if relu_before_sum: out = F.relu(out)
            x = F.avg_pool2d(x, self.stride) if take == "mean" else x[:, :, self.stride - 1 if take == "second" else 0::self.stride, self.stride - 1 if take == "second" else 0::self.stride]
            before = {"both": self.more // 2, "after": 0, "before": self.more}[pad]
            out = out + F.pad(x, (0, 0, 0, 0, before, self.more - before))
            return F.relu(out) if last_relu else out

    class ResNet20(nn.Module):
        def __init__(self):
            super().__init__()
            kernel, stride, padding = stem
            self.conv1 = nn.Conv2d(3, width, kernel, stride=stride, padding=padding, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            planes = width
            for i, s in enumerate(stages):
                wide = width * 2**i
                setattr(self, f"layer{i + 1}", nn.Sequential(Block(planes, wide, s), Block(wide, wide, 1), Block(wide, wide, 1)))
                planes = wide
            self.fc = nn.Linear(planes, 10)

        def forward(self, x):
            x = F.relu(self.bn1(self.conv1(x))) if extra_relu else self.bn1(self.conv1(x))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.fc(x.mean((2, 3)) if pool == "mean" else x.amax((2, 3)))
    return ResNet20


class OptionA(nn.Module):
    "A shortcut without weights, as a module."
    def __init__(self, more: int, stride: int):
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x):
        x = x[..., :: self.stride, :: self.stride]
        zeros = x.new_zeros(len(x), self.more // 2, *x.shape[2:])
        return torch.cat([zeros, x, zeros], 1)


class ModuleBlock(nn.Module):
    def __init__(self, inplanes, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Identity() if inplanes == planes and stride == 1 else OptionA(planes - inplanes, stride)

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return self.relu(out)


class OfModules(nn.Module):
    "Another right one: modules for shortcut, ReLU and pooling."
    def __init__(self, classes: int = 10):
        super().__init__()
        self.conv1, self.bn1, self.relu = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        self.inplanes = 16
        self.layer1, self.layer2, self.layer3 = self.stage(16, 1), self.stage(32, 2), self.stage(64, 2)
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, classes)

    def stage(self, planes, stride):
        blocks = [ModuleBlock(self.inplanes, planes, stride)]
        self.inplanes = planes
        return nn.Sequential(*blocks, ModuleBlock(planes, planes, 1), ModuleBlock(planes, planes, 1))

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        return self.fc(torch.flatten(self.pool(self.layer3(self.layer2(self.layer1(x)))), 1))


# 4. to_course
def renamed(checkpoint):
    return {k.removeprefix("module.").replace("shortcut", "downsample").replace("linear", "fc"): v for k, v in checkpoint["net"].items()}


def renamed_by_parts(checkpoint):
    new, out = {"shortcut": "downsample", "linear": "fc"}, OrderedDict()
    for name, tensor in checkpoint["net"].items():
        parts = name.split(".")[1:]
        out[".".join(new.get(p, p) for p in parts)] = tensor
    return out


def stripped(checkpoint): return {k.lstrip("module.").replace("shortcut", "downsample").replace("linear", "fc"): v for k, v in checkpoint["net"].items()}
def no_prefix_cut(checkpoint): return {k.replace("shortcut", "downsample").replace("linear", "fc"): v for k, v in checkpoint["net"].items()}
def no_projections(checkpoint): return {k[7:].replace("linear", "fc"): v for k, v in checkpoint["net"].items()}
def no_classifier(checkpoint): return {k[7:].replace("shortcut", "downsample"): v for k, v in checkpoint["net"].items()}
def whole_file(checkpoint): return {k[7:].replace("shortcut", "downsample").replace("linear", "fc"): v for k, v in checkpoint.items()}
def inner_key(checkpoint): return {"net": renamed(checkpoint)}
def weights_only(checkpoint): return {k: v for k, v in renamed(checkpoint).items() if k.endswith(("weight", "bias"))}
def no_counters(checkpoint): return {k: v for k, v in renamed(checkpoint).items() if not k.endswith("num_batches_tracked")}
def with_epoch(checkpoint): return {**renamed(checkpoint), "epoch": checkpoint["epoch"]}


def in_place(checkpoint):
    net = checkpoint["net"]
    for k in list(net): net[k[7:].replace("shortcut", "downsample").replace("linear", "fc")] = net.pop(k)
    return net


def a_list(checkpoint): return list(renamed(checkpoint).items())


ANSWERS = {
    "what_is_left": dict(
        right={"lists": SIDES, "tuples": {k: tuple(v) if isinstance(v, list) else v for k, v in SIDES.items()}},
        wrong={
            "the pool forgotten": ({**SIDES, "imagenet_224": [112, 56, 28, 14]}, "pool"),
            "no stem": ({**SIDES, "imagenet_32": [32, 16, 8, 4]}, "stem"),
            "the CIFAR stem halves": ({**SIDES, "cifar_32": [16, 8, 4, 2]}, "stride 1"),
            "layer1 halves": ({**SIDES, "cifar_32": [16, 8, 4, 2], "imagenet_224": [28, 14, 7, 4]}, "layer1"),
            "128 px": ({**SIDES, "smallest": 128}, "round"),
            "96 px": ({**SIDES, "smallest": 96}, "96"),
            "three stages": ({**SIDES, "imagenet_224": [56, 28, 14]}, "four"),
            "half filled in": ({**SIDES, "cifar_32": [32, 16, 8, None]}, "'cifar_32'"),
        },
    ),
    "bottleneck_macs": dict(
        right={"by the formula": macs, "convolution by convolution": macs_by_convolution},
        wrong={
            "multiplications and additions": (macs_wrong(both=True), "counted apart"),
            "v1": (macs_wrong(v1=True), "v1"),
            "no projection": (macs_wrong(projection="never"), "projection"),
            "projection by stride alone": (macs_wrong(projection="stride"), "channels"),
            "projection by channels alone": (macs_wrong(projection="channels"), "where the shape changes"),
            "projection always": (macs_wrong(projection="always"), "input itself"),
            "rounded down": (macs_wrong(down=True), "rounded down"),
            "a fraction": (macs_wrong(divide=True), "without rounding"),
            "1x1 for 3x3": (macs_wrong(kernel=1), "3x3"),
            "the 3x3 at the old size": (macs_wrong(stride_late=True), "the 3x3 convolution were counted at"),
            "the projection at the old size": (macs_wrong(projection_size="before"), "the projection were counted at"),
            "no expansion": (macs_wrong(last=1), "four times as many"),
            "with BatchNorm": (macs_wrong(batchnorm=True), "BatchNorm"),
        },
    ),
    "thin_resnet": dict(
        right={"mended": resnet20(), "of modules": OfModules},
        wrong={
            "the ImageNet stem": (resnet20(stem=(7, 2, 3)), "7x7"),
            "a 3x3 stem of stride 2": (resnet20(stem=(3, 2, 1)), "tride"),
            "a bias": (resnet20(bias=True), "bias"),
            "ReLU before the sum": (resnet20(relu_before_sum=True), "before the addition"),
            "zeros behind alone": (resnet20(pad="after"), "at the end"),
            "zeros in front alone": (resnet20(pad="before"), "in front"),
            "no ReLU after the sum": (resnet20(last_relu=False), "no ReLU came after"),
            "mean in place of every second": (resnet20(take="mean"), "`layer2.0` is the first"),
            "the other rows": (resnet20(take="second"), "`layer2.0` is the first"),
            "stride in the second convolution": (resnet20(stride_late=True), "`layer2.0.conv1` is the first"),
            "maximum": (resnet20(pool="max"), "`fc` is the first"),
            "no ReLU in the stem": (resnet20(extra_relu=False), "`layer1.0.conv1` is the first"),
            "twice as wide": (resnet20(width=32), "16"),
            "an instance": (resnet20()(), "class"),
        },
    ),
    "to_course": dict(
        right={"replaced": renamed, "part by part, ordered": renamed_by_parts},
        wrong={
            "lstrip": (stripped, "lstrip"),
            "the prefix stays": (no_prefix_cut, "module."),
            "shortcut stays": (no_projections, "downsample"),
            "linear stays": (no_classifier, "fc"),
            "the whole file": (whole_file, "checkpoint['net']"),
            "wrapped": (inner_key, "checkpoint['net']"),
            "weights and biases alone": (weights_only, "running"),
            "without the counters": (no_counters, "num_batches_tracked"),
            "the epoch too": (with_epoch, "hold them alone"),
            "in place": (in_place, "place"),
            "a list": (a_list, "dict"),
        },
    ),
}
