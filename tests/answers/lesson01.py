"Answers to the exercises of lesson 01, written from their text alone."
import torch
from torch import nn
from torch.nn import functional as F

# 1. projections: c has 64 * 256 weights, 256 scales and 256 shifts
PROJECTIONS = dict(a=False, b=True, c=True, d=True, e=True, f=False, weights_of_c=64 * 256 + 2 * 256)


# 2. read_degradation: errors after 12 epochs, 23.97 and 57.47 % (plain), 19.36 and 19.12 % (residual)
CURVE = dict(plain_gap=33.5, residual_gap=-0.2, overfitting=False)


# 3. batchnorm_by_hand
def bn_by_formula(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    column = lambda v: v[None, :, None, None]
    if training:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), unbiased=False)
        new_mean = (1 - momentum) * running_mean + momentum * mean
        new_var = (1 - momentum) * running_var + momentum * x.var((0, 2, 3))
    else:
        mean, var = new_mean, new_var = running_mean, running_var
    return (x - column(mean)) / torch.sqrt(column(var) + eps) * column(scale) + column(shift), new_mean, new_var


def bn_by_torch(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    new_mean, new_var = running_mean.clone(), running_var.clone()
    return F.batch_norm(x, new_mean, new_var, scale, shift, training, momentum, eps), new_mean, new_var


def bn_by_loop(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    out, means, variances = torch.empty_like(x), running_mean.clone(), running_var.clone()
    for c in range(x.shape[1]):
        values = x[:, c].flatten()
        mean, var, n = running_mean[c], running_var[c], values.numel()
        if training:
            mean = values.sum() / n
            var = ((values - mean) ** 2).sum() / n
            means[c] = means[c] * (1 - momentum) + mean * momentum
            variances[c] = variances[c] * (1 - momentum) + var * n / (n - 1) * momentum
        out[:, c] = (x[:, c] - mean) / (var + eps) ** 0.5 * scale[c] + shift[c]
    return out, means, variances


def bn_wrong(dims=(0, 2, 3), biased_running=True, unbiased_output=False, swap=False, no_eval=False, eval_moves=False, eps_outside=False, fixed_eps=False):
    "BatchNorm with one mistake."
    def batch_norm(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
        keep = lambda v: v.view(1, -1, 1, 1)
        eps = 1e-5 if fixed_eps else eps
        mean, var, unbiased = x.mean(dims), x.var(dims, unbiased=unbiased_output), x.var(dims)
        part = 1 - momentum if swap else momentum
        moved = (1 - part) * running_mean + part * mean, (1 - part) * running_var + part * (var if biased_running else unbiased)
        new = moved if training or eval_moves else (running_mean, running_var)
        if not training and not no_eval: mean, var = running_mean, running_var
        below = keep(var).sqrt() + eps if eps_outside else (keep(var) + eps).sqrt()
        return (x - keep(mean)) / below * keep(scale) + keep(shift), *new
    return batch_norm


def bn_in_place(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    return F.batch_norm(x, running_mean, running_var, scale, shift, training, momentum, eps), running_mean, running_var


def bn_per_picture(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    if not training: return bn_by_torch(x, scale, shift, running_mean, running_var, training, momentum, eps)
    out = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, unbiased=False) + eps).sqrt()
    _, mean, var = bn_by_torch(x, scale, shift, running_mean, running_var, training, momentum, eps)
    return out * scale[:, None, None] + shift[:, None, None], mean, var


def bn_per_pixel(x, scale, shift, running_mean, running_var, training, momentum=0.1, eps=1e-5):
    right = bn_by_torch(x, scale, shift, running_mean, running_var, training, momentum, eps)
    if not training: return right
    out = (x - x.mean(0)) / (x.var(0, unbiased=False) + eps).sqrt()
    return out * scale[:, None, None] + shift[:, None, None], *right[1:]


def bn_output_only(*args, **kwargs): return bn_by_formula(*args, **kwargs)[0]


# 4. five_bugs
def bottleneck(bias=False, shared_bn=False, inplace=False, one_relu=False, relu_before_sum=False, shortcut_by="both", shortcut_bn=True, stride_at=2):
    "The class of a bottleneck, by default without a mistake."
    class Block(nn.Module):
        def __init__(self, inplanes, planes, stride=1):
            super().__init__()
            self.conv1 = nn.Conv2d(inplanes, planes, 1, stride if stride_at == 1 else 1, bias=bias)
            self.bn1 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, stride if stride_at == 2 else 1, 1, bias=bias)
            self.bn2 = self.bn1 if shared_bn else nn.BatchNorm2d(planes)
            self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=bias)
            self.bn3 = nn.BatchNorm2d(planes * 4)
            if one_relu: self.relu = nn.ReLU()
            self.downsample = None
            if {"both": stride != 1 or inplanes != planes * 4, "stride": stride != 1, "channels": inplanes != planes * 4}[shortcut_by]:
                conv = nn.Conv2d(inplanes, planes * 4, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(planes * 4)) if shortcut_bn else nn.Sequential(conv)

        def forward(self, x):
            identity = x if self.downsample is None else self.downsample(x)
            relu = self.relu if one_relu else lambda v: F.relu(v, inplace=inplace)
            out = relu(self.bn2(self.conv2(relu(self.bn1(self.conv1(x))))))
            out = self.bn3(self.conv3(out))
            return relu((relu(out) if relu_before_sum else out) + identity)
    return Block


class OwnReLUs(nn.Module):
    "Another right one: a module for each ReLU, the shortcut after the branch."
    def __init__(self, inplanes: int, planes: int, stride: int = 1):
        super().__init__()
        width = 4 * planes
        self.conv1, self.bn1, self.act1 = nn.Conv2d(inplanes, planes, kernel_size=1, bias=False), nn.BatchNorm2d(planes), nn.ReLU()
        self.conv2, self.bn2, self.act2 = nn.Conv2d(planes, planes, 3, stride=stride, padding="same" if stride == 1 else 1, bias=False), nn.BatchNorm2d(planes), nn.ReLU()
        self.conv3, self.bn3, self.act3 = nn.Conv2d(planes, width, kernel_size=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        same = stride == 1 and inplanes == width
        self.downsample = None if same else nn.Sequential(nn.Conv2d(inplanes, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x):
        out = self.act1(self.bn1(self.conv1(x)))
        out = self.act2(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return self.act3(out + (self.downsample(x) if self.downsample is not None else x))


class InPlaceSum(bottleneck()):
    "The sum is written into the branch's output."
    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = torch.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        out += x if self.downsample is None else self.downsample(x)
        return torch.relu(out)


class NoLastReLU(bottleneck()):
    def forward(self, x):
        out = torch.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(torch.relu(self.bn2(self.conv2(out)))))
        return out + (x if self.downsample is None else self.downsample(x))


# 5. preact_block
def preact(shortcut_of="a", bias=False, last_relu=False, shortcut_bn=False, identity_of="x", inplace=False, shortcut_by="both", bn1_of="inplanes", post=False, relu2=True, one_relu=False):
    "The class of a pre-activation block, by default without a mistake."
    class Block(nn.Module):
        def __init__(self, inplanes, planes, stride=1):
            super().__init__()
            self.bn1 = nn.BatchNorm2d(planes if post or bn1_of == "planes" else inplanes)
            self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, 1, bias=bias)
            self.bn2 = nn.BatchNorm2d(planes)
            self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=bias)
            if one_relu: self.relu = nn.ReLU()
            self.downsample = None
            if {"both": stride != 1 or inplanes != planes, "channels": inplanes != planes, "stride": stride != 1}[shortcut_by]:
                conv = nn.Conv2d(inplanes, planes, 1, stride, bias=False)
                self.downsample = nn.Sequential(conv, nn.BatchNorm2d(planes)) if shortcut_bn else conv

        def forward(self, x):
            relu = self.relu if one_relu else lambda v: F.relu(v, inplace=inplace)
            if post:
                out = self.bn2(self.conv2(relu(self.bn1(self.conv1(x)))))
                return relu(out + (x if self.downsample is None else self.downsample(x)))
            a = relu(self.bn1(x))
            out = self.bn2(self.conv1(a))
            out = self.conv2(relu(out) if relu2 else out)
            if self.downsample is not None: out = out + self.downsample(a if shortcut_of == "a" else x)
            else: out = out + (x if identity_of == "x" else a)
            return relu(out) if last_relu else out
    return Block


class PreActOther(nn.Module):
    "Another right one: functions for the ReLUs, the projection inside an nn.Sequential."
    def __init__(self, inplanes: int, planes: int, stride: int = 1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inplanes)
        self.conv1 = nn.Conv2d(inplanes, planes, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, kernel_size=3, padding=1, bias=False)
        need = not (stride == 1 and inplanes == planes)
        self.downsample = nn.Sequential(nn.Conv2d(inplanes, planes, 1, stride=stride, bias=False)) if need else None

    def forward(self, x):
        a = F.relu(self.bn1(x))
        shortcut = x if self.downsample is None else self.downsample(a)
        return shortcut + self.conv2(F.relu(self.bn2(self.conv1(a))))


class BareConvolutions(preact()):
    "The activated input is computed twice, once for the shortcut."
    def forward(self, x):
        out = self.conv2(torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x))))))
        return out + (x if self.downsample is None else self.downsample(torch.relu(self.bn1(x))))


ANSWERS = {
    "projections": dict(
        right={"all seven": PROJECTIONS, "a number counted as a float": {**PROJECTIONS, "weights_of_c": 16896.0}},
        wrong={
            "only the stride matters": ({**PROJECTIONS, "c": False}, "channels"),
            "only the channels matter": ({**PROJECTIONS, "d": False}, "stride"),
            "C as B": ({**PROJECTIONS, "e": False}, "every"),
            "A as B": ({**PROJECTIONS, "f": True}, "zeros"),
            "a has one": ({**PROJECTIONS, "a": True}, "x itself"),
            "without BatchNorm": ({**PROJECTIONS, "weights_of_c": 64 * 256}, "BatchNorm"),
            "with running averages": ({**PROJECTIONS, "weights_of_c": 64 * 256 + 4 * 256}, "unning"),
            "with a bias": ({**PROJECTIONS, "weights_of_c": 64 * 256 + 3 * 256}, "bias"),
            "a 3x3": ({**PROJECTIONS, "weights_of_c": 9 * 64 * 256 + 512}, "1x1"),
            "half filled in": ({**PROJECTIONS, "weights_of_c": None}, "weights_of_c"),
            "words for truths": ({**PROJECTIONS, "a": "no"}, "True or False"),
        },
    ),
    "read_degradation": dict(
        right={"to one decimal": CURVE, "in full": {**CURVE, "plain_gap": 33.4986, "residual_gap": -0.2404}},
        wrong={
            "validation": ({**CURVE, "plain_gap": 32.3, "residual_gap": 1.0}, "validation"),
            "shares": ({**CURVE, "plain_gap": 0.335, "residual_gap": -0.002}, "a share"),
            "the sign": ({**CURVE, "plain_gap": -33.5, "residual_gap": 0.2}, "sign"),
            "accuracy's difference for the residual pair": ({**CURVE, "residual_gap": 0.2}, "sign"),
            "the loss": ({**CURVE, "plain_gap": 0.9, "residual_gap": 0.0}, "loss"),
            "overfitting": ({**CURVE, "overfitting": True}, "training"),
            "half filled in": ({**CURVE, "residual_gap": None}, "residual_gap"),
        },
    ),
    "batchnorm_by_hand": dict(
        right={"by the formula": bn_by_formula, "by torch on copies": bn_by_torch, "a loop over the channels": bn_by_loop},
        wrong={
            "n for the running variance": (bn_wrong(), "unbiased"),
            "n - 1 for the output": (bn_wrong(unbiased_output=True, biased_running=False), "unbiased"),
            "over the batch alone": (bn_per_pixel, "batch alone"),
            "momentum the wrong way round": (bn_wrong(swap=True, biased_running=False), "momentum"),
            "always the batch's statistics": (bn_wrong(no_eval=True, biased_running=False), "eval"),
            "the averages move in eval too": (bn_wrong(eval_moves=True, biased_running=False), "eval"),
            "eps outside the root": (bn_wrong(eps_outside=True, biased_running=False), "eps"),
            "eps is a constant": (bn_wrong(fixed_eps=True, biased_running=False), "eps"),
            "the averages in place": (bn_in_place, "argument 4 in place"),
            "each picture for itself": (bn_per_picture, "batch"),
            "the output alone": (bn_output_only, "three"),
        },
    ),
    "five_bugs": dict(
        right={"mended": bottleneck(), "a ReLU for each place": OwnReLUs},
        wrong={
            "biases stay": (bottleneck(bias=True), "bias"),
            "one BatchNorm twice": (bottleneck(shared_bn=True), "bn2"),
            "in place": (bottleneck(inplace=True), "place"),
            "one ReLU for three places": (bottleneck(one_relu=True), "`relu` runs 3 times"),
            "the sum in place": (InPlaceSum, "place"),
            "ReLU before the sum": (bottleneck(relu_before_sum=True), "ReLU"),
            "projection by stride alone": (bottleneck(shortcut_by="stride"), "channels"),
            "projection by channels alone": (bottleneck(shortcut_by="channels"), "stride"),
            "no BatchNorm on the shortcut": (bottleneck(shortcut_bn=False), "BatchNorm"),
            "v1: stride in the first convolution": (bottleneck(stride_at=1), "stride"),
            "no ReLU after the sum": (NoLastReLU, "ReLU"),
            "an instance": (bottleneck()(64, 16), "class"),
        },
    ),
    "preact_block": dict(
        right={"as the text says": preact(), "a bare function for ReLU": PreActOther},
        wrong={
            "the block of the lesson": (preact(post=True), "block of the lesson"),
            "ReLU after the sum": (preact(last_relu=True), "after"),
            "the projection takes x": (preact(shortcut_of="x"), "`downsample` gets x itself"),
            "the identity takes a": (preact(identity_of="a"), "x itself"),
            "biases": (preact(bias=True), "bias"),
            "BatchNorm on the shortcut": (preact(shortcut_bn=True), "BatchNorm"),
            "in place": (preact(inplace=True), "place"),
            "one ReLU for two places": (preact(one_relu=True), "`relu` runs 2 times"),
            "bn1 as wide as the output": (preact(bn1_of="planes"), "bn1"),
            "projection by channels alone": (preact(shortcut_by="channels"), "stride"),
            "projection by stride alone": (preact(shortcut_by="stride"), "channels"),
            "no second ReLU": (preact(relu2=False), "ReLU"),
            "bn1 twice": (BareConvolutions, "`bn1` runs 2 times"),
        },
    ),
}
