"Answers to the exercises of lesson 14, written from their text alone."
import copy, math

import torch
from torch import nn
from torch.nn import functional as F

from resnet_course.core import experiments_dir
from resnet_course.experiment import read_record
from resnet_course.report import read_histories


# 1. Attention, by hand
def by_matmul(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1) @ v

def by_einsum(q, k, v):
    fits = torch.einsum("...nd,...md->...nm", q, k) * q.shape[-1] ** -0.5
    weights = (fits - fits.amax(-1, keepdim=True)).exp()
    return torch.einsum("...nm,...me->...ne", weights / weights.sum(-1, keepdim=True), v)

def by_log_weights(q, k, v):
    fits = torch.matmul(q / q.size(-1) ** 0.5, k.mT)
    return (fits - fits.logsumexp(-1, keepdim=True)).exp().matmul(v)

def asker_by_asker(q, k, v):
    rows = []
    for n in range(q.shape[-2]):
        w = F.softmax((q[..., n:n + 1, :] * k).sum(-1) / math.sqrt(q.shape[-1]), dim=-1)
        rows.append((w[..., None] * v).sum(-2))
    return torch.stack(rows, dim=-2)

def unscaled(q, k, v): return torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v
def divided_by_d(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / q.shape[-1], dim=-1) @ v
def times_root(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) * math.sqrt(q.shape[-1]), dim=-1) @ v
def over_askers(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-2) @ v
def over_dim_1(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=1) @ v
def root_of_e(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(v.shape[-1]), dim=-1) @ v
def root_of_m(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(k.shape[-2]), dim=-1) @ v
def scaled_after(q, k, v): return torch.softmax(q @ k.transpose(-2, -1), dim=-1) / math.sqrt(q.shape[-1]) @ v

def overflows(q, k, v):
    weights = (q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])).exp()
    return weights / weights.sum(-1, keepdim=True) @ v

def no_softmax(q, k, v): return q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]) @ v
def transposes_1_2(q, k, v): return torch.softmax(q @ k.transpose(1, 2) / math.sqrt(q.shape[-1]), dim=-1) @ v
def by_view(q, k, v): return torch.softmax(q @ k.reshape(*k.shape[:-2], k.shape[-1], k.shape[-2]) / math.sqrt(q.shape[-1]), dim=-1) @ v
def transposed_all(q, k, v): return torch.softmax(q @ k.T / math.sqrt(q.shape[-1]), dim=-1) @ v

def scales_in_place(q, k, v):
    q /= math.sqrt(q.shape[-1])
    return torch.softmax(q @ k.transpose(-2, -1), dim=-1) @ v

def causal(q, k, v): return F.scaled_dot_product_attention(q, k, v, is_causal=True)
def only_weights(q, k, v): return torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)


# 2. A picture in words
def by_flatten(x, project, class_token, positions):
    squares = project(x).flatten(2).transpose(1, 2)
    return torch.cat([class_token.expand(len(x), -1, -1), squares], dim=1) + positions

def square_by_square(x, project, class_token, positions):
    maps = project(x)
    b, d, rows, columns = maps.shape
    out = [(class_token[0, 0] + positions[0, 0]).expand(b, d)]
    for r in range(rows):
        for c in range(columns): out.append(maps[:, :, r, c] + positions[0, 1 + r * columns + c])
    return torch.stack(out, dim=1)

def filled(x, project, class_token, positions):
    tokens = positions.repeat(len(x), 1, 1)
    tokens[:, :1] += class_token
    tokens[:, 1:] += project(x).permute(0, 2, 3, 1).reshape(len(x), -1, class_token.shape[-1])
    return tokens

def words(cut="flatten", first=True, all_positions=True):
    "The text's function with switches for what may go wrong."
    def tokens_of(x, project, class_token, positions):
        maps = project(x)
        squares = {"flatten": lambda: maps.flatten(2).transpose(1, 2),
                   "reshape": lambda: maps.reshape(len(x), -1, project.out_channels),
                   "columns first": lambda: maps.transpose(2, 3).flatten(2).transpose(1, 2)}[cut]()
        one = class_token.expand(len(x), -1, -1)
        tokens = torch.cat([one, squares] if first else [squares, one], dim=1)
        return tokens + (positions if all_positions else positions[:, :1])
    return tokens_of

def no_position_for_the_class(x, project, class_token, positions):
    squares = project(x).flatten(2).transpose(1, 2) + positions[:, 1:]
    return torch.cat([class_token.expand(len(x), -1, -1), squares], dim=1)

def positions_from_0(x, project, class_token, positions):
    squares = project(x).flatten(2).transpose(1, 2) + positions[:, :-1]
    return torch.cat([class_token.expand(len(x), -1, -1), squares], dim=1)

def no_positions(x, project, class_token, positions): return torch.cat([class_token.expand(len(x), -1, -1), project(x).flatten(2).transpose(1, 2)], dim=1)

def changes_positions(x, project, class_token, positions):
    positions = positions.detach()
    positions[:, :1] += class_token.detach()
    return torch.cat([positions[:, :1].expand(len(x), -1, -1), project(x).flatten(2).transpose(1, 2) + positions[:, 1:]], dim=1)

def one_picture(x, project, class_token, positions): return torch.cat([class_token, project(x).flatten(2).transpose(1, 2)], dim=1) + positions

def assumes_squares(x, project, class_token, positions):
    maps = project(x)
    side = math.isqrt(maps.shape[2] * maps.shape[3])
    squares = torch.stack([maps[:, :, i // side, i % side] for i in range(side * side)], dim=1)
    return torch.cat([class_token.expand(len(x), -1, -1), squares], dim=1) + positions

def no_class_token(x, project, class_token, positions): return project(x).flatten(2).transpose(1, 2) + positions[:, 1:]


# 3. A test that can fail
def agree_mended(ours, theirs, x):
    ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)
    nn.init.normal_(theirs.heads.head.weight, std=0.5)
    ours.load_state_dict(theirs.state_dict())
    with torch.no_grad(): return bool((ours.eval()(x) - theirs.eval()(x)).abs().max() < 1e-4)

def agree_by_dict(ours, theirs, x):
    state = {k: v.clone() for k, v in theirs.state_dict().items()}
    for k in state:
        if k.startswith("heads.head."): state[k] = torch.randn(state[k].shape, generator=torch.Generator().manual_seed(1)) * 0.1
    answers = []
    for net in (ours, theirs):
        net = copy.deepcopy(net).eval()
        net.load_state_dict(state)
        with torch.inference_mode(): answers.append(net(x))
    return torch.allclose(*answers, rtol=0, atol=1e-4)

def agreer(head=True, load=True, evals=True, copied=True, seeded=False, reverse=False, std=1., both=True, how="max"):
    "The text's function with switches for what may go wrong."
    def agree(ours, theirs, x):
        if copied: ours, theirs = copy.deepcopy(ours), copy.deepcopy(theirs)
        if evals: ours.eval(), theirs.eval()
        if head and both: nn.init.normal_(theirs.heads.head.weight, std=std)
        if load: (theirs if reverse else ours).load_state_dict((ours if reverse else theirs).state_dict())
        if head and not both: nn.init.normal_(ours.heads.head.weight, std=std), nn.init.normal_(theirs.heads.head.weight, std=std)
        if seeded: torch.manual_seed(0)
        a = ours(x)
        if seeded: torch.manual_seed(0)
        off = (a - theirs(x)).abs()
        if how == "classes": return torch.equal(a.argmax(1), theirs(x).argmax(1))
        return bool(getattr(off, how)() < 1e-4)
    return agree

def only_shapes(ours, theirs, x): return ours(x).shape == theirs(x).shape
def always_true(ours, theirs, x): return True
def same_weights(ours, theirs, x): return all(torch.equal(a, b) for a, b in zip(ours.state_dict().values(), theirs.state_dict().values()))
def a_tensor(ours, theirs, x): return (agree_answers := [n.eval()(x) for n in map(copy.deepcopy, (ours, theirs))])[0] - agree_answers[1]

def whole_weights_random(ours, theirs, x):
    "Every weight anew, of a spread that drowns what the networks do."
    ours, theirs = copy.deepcopy(ours).eval(), copy.deepcopy(theirs).eval()
    for p in theirs.parameters(): nn.init.zeros_(p)
    ours.load_state_dict(theirs.state_dict())
    return bool((ours(x) - theirs(x)).abs().max() < 1e-4)


# 4. How much is known by heart?
def gaps(best="val_loss", least=True, own="clean_accuracy", percent=100., last=False):
    result = {}
    for name in ("resnet34", "resnet50", "vit"):
        folder = experiments_dir() / "small_data" / f"n500augmented_{name}"
        seeds, found = read_record(folder)["seeds"], []
        for history in (read_histories(folder, seeds)[s] for s in seeds):
            values = list(history.column(best))
            e = len(values) - 1 if last else values.index(min(values) if least else max(values))
            found.append(list(history.column(own))[e] - list(history.column("val_accuracy"))[e])
        result[name] = percent * sum(found) / len(found)
    return result


# 5. A fair contest
NARROW = {"name": "resnet34", "options": {"stem": "cifar", "widths": [16, 32, 64, 128]}}
WIDE = {"name": "resnet34", "options": {"stem": "cifar"}}
SMALL = {"name": "vit", "options": {"hidden_dim": 128, "mlp_dim": 256, "num_heads": 4}}

def contest(*, resnet34=NARROW, vit=SMALL, others=None, rates=(0.0003, 0.001, 0.003, 0.01), drop=(), **more):
    "A fair one, unless an argument makes it unfair."
    networks = {k: v for k, v in dict(resnet34=resnet34, vit=vit).items() if v}
    whole = {"networks": {**networks, **(others or {})}, "own": {}, "rates": list(rates), "search": {"training.epochs": 10},
             "variants": {"n500": {"data.limit": 500}}, **more}
    return {k: v for k, v in whole.items() if k not in drop}


ANSWERS = {
    "attention": dict(
        right={"softmax of a matmul": by_matmul, "einsum, the largest taken off": by_einsum, "by logsumexp": by_log_weights, "asker by asker": asker_by_asker},
        wrong={
            "unscaled": (unscaled, "root"),
            "divided by d": (divided_by_d, "root"),
            "times the root": (times_root, "divide"),
            "softmax over askers": (over_askers, "wrong axis"),
            "softmax over dim 1": (over_dim_1, "axis 1"),
            "the root of e": (root_of_e, "values' length"),
            "the root of M": (root_of_m, "root of M"),
            "scaled afterwards": (scaled_after, "after the softmax"),
            "overflows": (overflows, "largest fit"),
            "no softmax": (no_softmax, "softmax"),
            "transposes 1 and 2": (transposes_1_2, "transpose"),
            "a view for a transpose": (by_view, "cut anew"),
            "k.T": (transposed_all, "k.T"),
            "scales in place": (scales_in_place, "in place"),
            "causal": (causal, "differs"),
            "only the weights": (only_weights, "shape"),
        }),
    "tokens_of": dict(
        right={"flatten and transpose": by_flatten, "square by square": square_by_square, "filled in": filled, "mended": words()},
        wrong={
            "as it was": (words("reshape", False, False), "reshape"),
            "reshape": (words("reshape"), "reshape"),
            "class token last": (words(first=False), "class token"),
            "one position for all": (words(all_positions=False), "position"),
            "columns first": (words("columns first"), "column by column"),
            "no position for the class": (no_position_for_the_class, "class token"),
            "positions from 0": (positions_from_0, "one off"),
            "no positions": (no_positions, "Positions are forgotten"),
            "changes what is given": (changes_positions, "in place"),
            "one picture": (one_picture, "Sizes of tensors"),
            "assumes squares": (assumes_squares, "must match"),
            "no class token": (no_class_token, "shape"),
        }),
    "agree": dict(
        right={"mended": agree_mended, "by dict": agree_by_dict, "spread 0.02": agreer(std=0.02), "spread 1": agreer(std=1.)},
        wrong={
            "as it was": (agreer(head=False, evals=False), "zero"),
            "no head": (agreer(head=False), "zero"),
            "training mode": (agreer(evals=False), "eval()"),
            "training mode, seeded": (agreer(evals=False, seeded=True), "eval()"),
            "no weights loaded": (agreer(load=False), "weights"),
            "not copied": (agreer(copied=False), "cop"),
            "ours over theirs": (agreer(reverse=True), "zero"),
            "two random heads": (agreer(both=False), "same"),
            "hardly a spread": (agreer(std=1e-6), "spread"),
            "the mean difference": (agreer(how="mean"), "largest difference"),
            "the same class": (agreer(how="classes"), "number by number"),
            "only shapes": (only_shapes, "number by number"),
            "always": (always_true, "number by number"),
            "compares weights": (same_weights, "says False"),
            "a tensor": (a_tensor, "True or False"),
            "all weights zero": (whole_weights_random, "says True"),
        }),
    "by_heart": dict(
        right={"computed": gaps(), "rounded": {k: round(v, 1) for k, v in gaps().items()}, "as tensors": {k: torch.tensor(v) for k, v in gaps().items()}},
        wrong={
            "during the epoch": (gaps(own="train_accuracy"), "train_accuracy"),
            "best accuracy": (gaps(best="val_accuracy", least=False), "validation loss"),
            "highest loss": (gaps(least=False), "kept epoch"),
            "the last epoch": (gaps(last=True), "last epoch"),
            "shares": (gaps(percent=1.), "fraction"),
            "turned round": (gaps(percent=-100.), "sign"),
            "one left out": ({k: v for k, v in gaps().items() if k != "vit"}, "vit"),
            "guessed": ({"resnet34": 20, "resnet50": 25, "vit": 40}, "resnet34"),
            "all alike": (dict.fromkeys(("resnet34", "resnet50", "vit"), gaps()["resnet34"]), "resnet50"),
        }),
    "fair_contest": dict(
        right={
            "a narrow ResNet": contest(),
            "a wide transformer": contest(resnet34=WIDE, vit={"name": "vit"}, drop=("own",)),
            "three networks": contest(others={"resnet50": {"name": "resnet50", "options": {"stem": "cifar", "widths": [16, 32, 64, 128]}}}, rates=(0.0001, 0.001, 0.01)),
            "augmented for all": contest(variants={"n500flip": {"data.limit": 500, "data.flip": True, "data.pad_crop": 4}}, search={}),
            "longer for all": contest(variants={"n500": {"data.limit": 500, "training.epochs": 90}, "n2500": {"data.limit": 2500}}),
        },
        wrong={
            "unequal arithmetic": (contest(resnet34=WIDE), "multiplications"),
            "as it was": (contest(resnet34=WIDE, rates=(0.001,), own={"vit": {"training.epochs": 90}, "resnet34": {"data.pad_crop": 4, "data.flip": True}}), "multiplications"),
            "one has more epochs": (contest(own={"vit": {"training.epochs": 90}}), "vit alone"),
            "the same for each, in own": (contest(own={"vit": {"data.flip": True}, "resnet34": {"data.flip": True}}), "alone"),
            "one rate": (contest(rates=(0.001,)), "rate"),
            "two rates": (contest(rates=(0.001, 0.01)), "three"),
            "one rate thrice": (contest(rates=(0.001, 0.001, 0.01)), "three"),
            "rates too near": (contest(rates=(0.0005, 0.001, 0.002)), "ten times"),
            "rates as texts": (contest(rates=("3e-4", "1e-3", "1e-2")), "rate"),
            "a rate of 0": (contest(rates=(0.0, 0.001, 0.01)), "rate"),
            "no transformer": (contest(vit=None), "vit"),
            "no ResNet": (contest(resnet34=None), "at least one ResNet"),
            "a third that is dearer": (contest(others={"resnet18": {"name": "resnet18", "options": {"stem": "cifar"}}}), "multiplications"),
            "no such option": (contest(resnet34={"name": "resnet34", "options": {"stem": "cifar", "width": 16}}), "width"),
            "heads do not divide": (contest(vit={"name": "vit", "options": {"hidden_dim": 126, "mlp_dim": 256, "num_heads": 4}}), "heads"),
            "one seed": (contest(variants={"n500": {"data.limit": 500, "seeds": [0]}}), "at least three"),
            "a rate for one variant": (contest(variants={"n500": {"data.limit": 500}, "n2500": {"data.limit": 2500, "training.lr": 0.01}}), "training.lr"),
            "a name with a dash below": (contest(variants={"n500_flip": {"data.limit": 500, "data.flip": True}}), "small letters"),
            "no variant": (contest(variants={}), "variant"),
            "a setting misspelled": (contest(variants={"n500": {"data.limits": 500}}), "limits"),
            "no rates": (contest(drop=("rates",)), "rates"),
            "networks in a list": (contest() | {"networks": [NARROW, SMALL]}, "networks"),
        }),
}
