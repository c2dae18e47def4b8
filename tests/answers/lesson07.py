"Answers to the exercises of lesson 07, written from their text alone: right ones to be accepted, wrong ones with words that the message must hold."
import difflib, math, numbers

import numpy as np
import torch

from resnet_course.core import experiments_dir
from resnet_course.evaluation import bootstrap_interval
from resnet_course.experiment import read_predictions, read_record

# ---------------------------------------------------------------- strict

DEFAULTS = {"epochs": 10, "lr": 0.1, "weight_decay": 0.0}


def strict_by_type(values):
    out = dict(DEFAULTS)
    for key, value in values.items():
        if key not in DEFAULTS: raise ValueError(f"unknown key {key!r}; did you mean {difflib.get_close_matches(key, DEFAULTS, n=1, cutoff=0)[0]!r}?")
        if type(value) not in ((int,) if key == "epochs" else (int, float)) or not math.isfinite(value): raise ValueError(f"{key}: {value!r} is no number that may be")
        if value < {"epochs": 1, "lr": 5e-324, "weight_decay": 0}[key]: raise ValueError(f"{key}: {value} is too small")
        out[key] = value
    return out


def strict_by_rules(values):
    "A rule per key; floats are made of whole numbers"
    def number(v): return isinstance(v, numbers.Real) and not isinstance(v, bool) and v == v and abs(v) != float("inf")
    rules = {"epochs": lambda v: isinstance(v, int) and number(v) and v >= 1, "lr": lambda v: number(v) and v > 0, "weight_decay": lambda v: number(v) and v >= 0}
    unknown = sorted(map(str, set(values) - set(rules)))
    if unknown: raise ValueError(f"{unknown[0]}: no such setting. The nearest is {difflib.get_close_matches(unknown[0], list(rules), n=1, cutoff=0)[0]}")
    for key in values:
        if not rules[key](values[key]): raise ValueError(f"the value of {key} may not be {values[key]}")
    return {"weight_decay": float(values.get("weight_decay", 0.0)), "lr": float(values.get("lr", 0.1)), "epochs": values.get("epochs", 10)}


def read(unknown="error", epochs=lambda v: type(v) is int and v >= 1, lr=lambda v: type(v) in (int, float) and math.isfinite(v) and v > 0,
         decay=lambda v: type(v) in (int, float) and math.isfinite(v) and v >= 0, error=ValueError, say=True, none=False, convert=lambda k, v: v):
    "The function with one thing done otherwise"
    def mended(values):
        rules = dict(epochs=epochs, lr=lr, weight_decay=decay)
        if none: values = {k: v for k, v in values.items() if v is not None}
        for key in set(values) - set(rules):
            near = difflib.get_close_matches(key, rules, n=1, cutoff=0)[0]
            if unknown == "error": raise error(f"{key}: unknown, the nearest is {near}")
            if unknown == "no nearest": raise ValueError(f"{key} is unknown")
            if unknown == "no key": raise ValueError(f"did you mean {near}?")
            if unknown == "first": raise ValueError(f"{key}: unknown; did you mean epochs?")
            if unknown == "taken": values = {(near if k == key else k): v for k, v in values.items()}
        for key, rule in rules.items():
            if key in values:
                try: fits = rule(values[key])
                except (TypeError, ValueError, OverflowError): fits = False
                if not fits: raise error(f"{key}: {values[key]!r}" if say else "a value is wrong")
        return {k: convert(k, values.get(k, v)) for k, v in DEFAULTS.items()}
    return mended


def read_as_given(values):
    return dict(epochs=int(values.get("epochs", 10)), lr=float(values.get("lr", 0.1)), weight_decay=float(values.get("weight_decay", 0.0)))


def fills_in(values):
    strict_by_type(values)
    for k, v in DEFAULTS.items(): values.setdefault(k, v)
    return values


def keeps_given(values): return {k: v for k, v in strict_by_type(values).items() if k in values}


def unchecked(values): return {**DEFAULTS, **values}


def number_of_any_kind(v): return not math.isnan(float(v)) and not math.isinf(float(v)) and not isinstance(v, bool)


STRICT = dict(
    right={"by type": strict_by_type, "by rules": strict_by_rules},
    wrong={"as given": (read_as_given, "nobody finds out"),
           "unknown keys ignored": (read(unknown="ignored"), "nobody finds out"),
           "unknown keys kept": (unchecked, "went on"),
           "taken for the nearest": (read(unknown="taken"), "ValueError"),
           "nearest not said": (read(unknown="no nearest"), "nearest"),
           "unknown key not said": (read(unknown="no key"), "message"),
           "always the first": (read(unknown="first"), "nearest"),
           "a KeyError": (read(error=KeyError), "ValueError"),
           "a TypeError": (read(error=TypeError), "ValueError"),
           "key of the value not said": (read(say=False), "message"),
           "texts read as numbers": (read(lr=lambda v: number_of_any_kind(v) and float(v) > 0, convert=lambda k, v: float(v) if k == "lr" else v), "text"),
           "epochs as a text": (read(epochs=lambda v: int(v) >= 1 and not isinstance(v, (bool, float)), convert=lambda k, v: int(v) if k == "epochs" else v), "text"),
           "True is 1 epoch": (read(epochs=lambda v: isinstance(v, int) and v >= 1), "True"),
           "True is a rate": (read(lr=lambda v: isinstance(v, (int, float)) and math.isfinite(v) and v > 0), "True"),
           "False is a decay": (read(decay=lambda v: isinstance(v, (int, float)) and math.isfinite(v) and v >= 0), "False"),
           "epochs 2.0 accepted": (read(epochs=lambda v: type(v) in (int, float) and v >= 1 and v == int(v)), "2.0"),
           "epochs 2.5 cut": (read(epochs=lambda v: type(v) in (int, float) and v >= 1, convert=lambda k, v: int(v) if k == "epochs" else v), "2.5"),
           "NaN accepted": (read(lr=lambda v: type(v) in (int, float) and not v <= 0 and v != math.inf), "nan"),
           "infinity accepted": (read(lr=lambda v: type(v) in (int, float) and v > 0), "inf"),
           "NaN as a decay": (read(decay=lambda v: type(v) in (int, float) and not v < 0 and v != math.inf), "nan"),
           "no epochs at all": (read(epochs=lambda v: type(v) is int and v >= 0), "0"),
           "lr of 0": (read(lr=lambda v: type(v) in (int, float) and math.isfinite(v) and v >= 0), "0"),
           "decay of 0 refused": (read(decay=lambda v: type(v) in (int, float) and math.isfinite(v) and v > 0), "0"),
           "negative decay": (read(decay=lambda v: type(v) in (int, float) and math.isfinite(v)), "-"),
           "a whole rate refused": (read(lr=lambda v: type(v) is float and math.isfinite(v) and v > 0), "whole number"),
           "an infinite decay": (read(decay=lambda v: type(v) in (int, float) and v >= 0), "inf"),
           "None is the default": (read(none=True), "None"),
           "no decay is None": (read(decay=lambda v: v is None or type(v) in (int, float) and math.isfinite(v) and v >= 0), "None"),
           "lr above 1 refused": (read(lr=lambda v: type(v) in (int, float) and 0 < v <= 0.9), "lr"),
           "filled in in place": (fills_in, "in place"),
           "defaults missing": (keeps_given, "Missing")})

# ---------------------------------------------------------------- half_a_point

deeper, shallower = (read_predictions(experiments_dir() / "degradation" / n) for n in ("resnet32", "resnet20"))
seeds = read_record(experiments_dir() / "transfer" / "n500_finetune")["per_seed"]
runs = np.array([s["metrics"]["test"]["accuracy"] for s in seeds])
A, B = (p.right.numpy().astype(float) for p in (deeper, shallower))


def normal(difference=A - B, z=1.96):
    se = difference.std(ddof=1) / math.sqrt(len(difference))
    return dict(low=100 * (difference.mean() - z * se), high=100 * (difference.mean() + z * se))


def doubts(**change):
    out = dict(gap=100 * (A.mean() - B.mean()), **normal(), std=100 * runs.std(ddof=1), standard_error=100 * runs.std(ddof=1) / math.sqrt(5), shown=False)
    return {**out, **change}


def by_bootstrap():
    low, high = bootstrap_interval(deeper, lambda p: float(p.right.float().mean()), other=shallower, draws=300, seed=1)
    return doubts(low=100 * low, high=100 * high, gap=round(doubts()["gap"], 2), std=round(doubts()["std"], 2), standard_error=round(doubts()["standard_error"], 2))


WIDE = math.sqrt(A.var() / len(A) + B.var() / len(B))
HALF_A_POINT = dict(
    right={"normal": doubts(), "bootstrap, rounded": by_bootstrap(), "tensors": {k: v if k == "shown" else torch.tensor(v) for k, v in doubts().items()},
           "rounded": {k: round(float(v), 2) if k != "shown" else v for k, v in doubts().items()}},
    wrong={"shares instead of points": ({k: v / 100 if k != "shown" else v for k, v in doubts().items()}, "Points"),
           "the gap in shares": (doubts(gap=A.mean() - B.mean()), "Points"),
           "the gap turned": (doubts(gap=100 * (B.mean() - A.mean())), "ResNet-32"),
           "unpaired": (doubts(low=100 * (A.mean() - B.mean() - 1.96 * WIDE), high=100 * (A.mean() - B.mean() + 1.96 * WIDE)), "paired"),
           "one standard error": (doubts(**normal(z=1.0)), "1.96"),
           "one network's interval": (doubts(**normal(A)), "gap"),
           "spread of the differences": (doubts(low=100 * ((A - B).mean() - 1.96 * (A - B).std()), high=100 * ((A - B).mean() + 1.96 * (A - B).std())), "root"),
           "ends exchanged": (doubts(low=doubts()["high"], high=doubts()["low"]), "low"),
           "only the half width": (doubts(low=doubts()["gap"] - doubts()["low"], high=doubts()["high"] - doubts()["gap"]), "interval"),
           "std with n": (doubts(std=100 * runs.std()), "n - 1"),
           "std in shares": (doubts(std=runs.std(ddof=1), standard_error=runs.std(ddof=1) / math.sqrt(5)), "Points"),
           "variance": (doubts(std=1e4 * runs.var(ddof=1)), "variance"),
           "standard error is the std": (doubts(standard_error=doubts()["std"]), "root"),
           "divided by n": (doubts(standard_error=doubts()["std"] / 5), "root"),
           "divided by the root of n - 1": (doubts(standard_error=doubts()["std"] / 2), "standard_error"),
           "std of n, error of n": (doubts(std=100 * runs.std(), standard_error=100 * runs.std() / math.sqrt(5)), "n - 1"),
           "shown": (doubts(shown=True), "seed"),
           "a word for shown": (doubts(shown="no"), "True or False"),
           "shown left open": (doubts(shown=None), "shown"),
           "a key missing": ({k: v for k, v in doubts().items() if k != "std"}, "std"),
           "a list": (list(doubts().values()), "dict")})

# ---------------------------------------------------------------- objections


def objections_in_order(a, b):
    out = set()
    fa, fb = a["data"].get("fingerprint"), b["data"].get("fingerprint")
    if not fa or not fb or fa != fb: out.add("data")
    if min(len(a["per_seed"]), len(b["per_seed"])) < 2: out.add("seeds")
    looks = sorted(r["data"]["train"] * sum(s["epochs"] for s in r["per_seed"]) / len(r["per_seed"]) for r in (a, b))
    if looks[1] > 1.1 * looks[0]: out.add("looks")
    if a["data"]["test"] != b["data"]["test"]: out.add("test")
    return out


def objections_as_a_comprehension(a, b):
    prints = {r["data"].get("fingerprint") or None for r in (a, b)}
    looks = [r["data"]["train"] * float(np.mean([s["epochs"] for s in r["per_seed"]])) for r in (a, b)]
    found = {"data": len(prints) > 1 or None in prints, "seeds": any(len(r["per_seed"]) < 2 for r in (a, b)),
             "looks": max(looks) / min(looks) > 1.1, "test": len({r["data"]["test"] for r in (a, b)}) == 2}
    return {word for word, objected in found.items() if objected}


def judged(data=lambda a, b: not a or not b or a != b, seeds=lambda a, b: min(a, b) < 2, looks=lambda a, b: max(a, b) > 1.1 * min(a, b), test=lambda a, b: a != b,
           shown=lambda r: r["data"]["train"] * np.mean([s["epochs"] for s in r["per_seed"]]), fingerprint=lambda d: d.get("fingerprint"), end=set):
    def objections(a, b):
        said = dict(data=data(fingerprint(a["data"]), fingerprint(b["data"])), seeds=seeds(len(a["per_seed"]), len(b["per_seed"])),
                    looks=looks(shown(a), shown(b)), test=test(a["data"]["test"], b["data"]["test"]))
        return end([k for k, v in said.items() if v])
    return objections


def popped(a, b):
    said = judged()(a, b)
    a["data"].pop("fingerprint", None); b["data"].pop("fingerprint", None)
    return said


OBJECTIONS = dict(
    right={"in order": objections_in_order, "comprehension": objections_as_a_comprehension},
    wrong={"unknown data are the same": (judged(data=lambda a, b: a != b), "fingerprint"),
           "unknown only if both are": (judged(data=lambda a, b: a != b or (a is None and b is None)), "fingerprint"),
           "unknown is no objection": (judged(data=lambda a, b: bool(a and b and a != b)), "fingerprint"),
           "KeyError without a fingerprint": (judged(fingerprint=lambda d: d["fingerprint"]), "KeyError"),
           "empty fingerprints equal": (judged(data=lambda a, b: a is None or b is None or a != b), "empty"),
           "both with one seed": (judged(seeds=lambda a, b: max(a, b) < 2), "seed"),
           "two seeds are too few": (judged(seeds=lambda a, b: min(a, b) <= 2), "2 seeds"),
           "numbers of seeds differ": (judged(seeds=lambda a, b: a != b), "seed"),
           "looks in one direction": (judged(looks=lambda a, b: a > 1.1 * b), "order"),
           "a tenth itself": (judged(looks=lambda a, b: max(a, b) >= 1.1 * min(a, b) - 1e-6), "1.1"),
           "a tenth of the larger": (judged(looks=lambda a, b: max(a, b) - min(a, b) > 0.1 * max(a, b)), "smaller"),
           "any difference": (judged(looks=lambda a, b: a != b), "Up to a tenth"),
           "epochs alone": (judged(shown=lambda r: np.mean([s["epochs"] for s in r["per_seed"]])), "pictures"),
           "pictures alone": (judged(shown=lambda r: r["data"]["train"]), "epochs"),
           "epochs that were planned": (judged(shown=lambda r: r["data"]["train"] * r["config"]["training"]["epochs"]), "asked for"),
           "the first seed's epochs": (judged(shown=lambda r: r["data"]["train"] * r["per_seed"][0]["epochs"]), "mean"),
           "epochs of all seeds added": (judged(shown=lambda r: r["data"]["train"] * sum(s["epochs"] for s in r["per_seed"])), "added up"),
           "test by a tenth": (judged(test=lambda a, b: max(a, b) > 1.1 * min(a, b)), "test"),
           "test left out": (judged(test=lambda a, b: False), "test"),
           "True or False": (judged(end=bool), "set"),
           "None when there is nothing": (judged(end=lambda v: set(v) or None), "None"),
           "records changed": (popped, "in place")})

ANSWERS = {"strict": STRICT, "half_a_point": HALF_A_POINT, "objections": OBJECTIONS}
