"Right and wrong answers to the exercises of lesson 05, written from their text alone."
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional as F

from resnet_course.core import experiments_dir
from resnet_course.evaluation import at_threshold, choose_threshold, confusion_matrix, load_predictions, roc_curve


# 1. The area under the curve
def checked(function):
    "`function` of the positives' and the negatives' scores, after the question whether there are any"
    def roc_area(scores, targets):
        positive, negative = scores[targets == 1], scores[targets == 0]
        if len(positive) == 0 or len(negative) == 0: raise ValueError("both classes are needed")
        return function(positive, negative)
    return roc_area


@checked
def every_pair(positive, negative):
    difference = positive[:, None] - negative[None, :]
    return ((difference > 0).double() + 0.5 * (difference == 0).double()).mean().item()


@checked
def by_search(positive, negative):
    negative = negative.sort().values
    below, upto = (torch.searchsorted(negative, positive, right=right) for right in (False, True))
    return float((below + upto).sum()) / 2 / (len(positive) * len(negative))


def by_ranks(scores, targets):
    values, y = scores.double().numpy(), targets.numpy()
    p, n = int((y == 1).sum()), int((y == 0).sum())
    if p * n == 0: raise ValueError("no pair")
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[where]
    return (ranks[y == 1].sum() - p * (p + 1) / 2) / (p * n)


@checked
def with_sign(positive, negative):
    return (positive.view(-1, 1) - negative.view(1, -1)).sign().double().mean() / 2 + 0.5


def steps_of_thresholds(scores, targets):
    positive, negative = (targets == 1), (targets == 0)
    if not positive.any() or not negative.any(): raise ValueError("both classes are needed")
    at = torch.linspace(1, 0, 101)
    tpr = torch.stack([(scores[positive] >= t).float().mean() for t in at])
    fpr = torch.stack([(scores[negative] >= t).float().mean() for t in at])
    return float(torch.trapezoid(tpr, fpr))


def ranks_without_ties(scores, targets):
    p, n = int((targets == 1).sum()), int((targets == 0).sum())
    if p * n == 0: raise ValueError("no pair")
    ranks = torch.empty(len(scores))
    ranks[scores.argsort(stable=True)] = torch.arange(1, len(scores) + 1).float()
    return float((ranks[targets == 1].sum() - p * (p + 1) / 2) / (p * n))


def no_question(scores, targets):
    difference = scores[targets == 1][:, None] - scores[targets == 0][None]
    return ((difference > 0).double() + (difference == 0).double() / 2).mean().item()


def half_without_pairs(scores, targets):
    return every_pair(scores, targets) if 0 < targets.sum() < len(targets) else 0.5


def asserts(scores, targets):
    assert 0 < targets.sum() < len(targets), "both classes are needed"
    return every_pair(scores, targets)


def squashed_in_place(scores, targets):
    scores.sigmoid_()
    return every_pair(scores, targets)


# 2. Always dog
DOG = dict(accuracy=604 / 1024, balanced_accuracy=0.5, macro_f1=604 / (2 * 604 + 420), roc_area=0.5, points_above=100 * (0.6357421875 - 604 / 1024))
ROUNDED = dict(accuracy=0.590, balanced_accuracy=0.5, macro_f1=0.371, roc_area=0.5, points_above=4.6)


# 3. A report
def mended(val, test):
    threshold = choose_threshold(val)
    moved = at_threshold(test, threshold)
    matrix = confusion_matrix(moved).double()
    return dict(threshold=threshold, balanced_accuracy=float((matrix.diag() / matrix.sum(1)).mean()), roc_area=roc_curve(test).area,
                above_majority=float(matrix.trace() / matrix.sum() - matrix.sum(1).max() / matrix.sum()))


def by_hand(val, test):
    threshold = choose_threshold(val, positive=1, goal="balanced_accuracy")
    dog, truth = test.probabilities[:, 1], test.targets
    answers = (dog >= threshold).long()
    recalls = [(answers[truth == c] == c).double().mean() for c in (0, 1)]
    return {"threshold": threshold, "balanced_accuracy": sum(recalls) / 2, "roc_area": every_pair(dog, truth),
            "above_majority": (answers == truth).double().mean() - truth.bincount().max() / len(truth)}


def reporting(threshold=lambda val, test: choose_threshold(val), axis=1, ranked=lambda val, test, moved: test, majority=lambda val, test: float(test.targets.bincount().max()) / len(test), asked=lambda val, test: test, above=lambda v: v):
    "`report` with a mistake"
    def report(val, test):
        t = threshold(val, test)
        moved = at_threshold(asked(val, test), t)
        matrix = confusion_matrix(moved).double()
        return dict(threshold=t, balanced_accuracy=float((matrix.diag() / matrix.sum(axis)).mean()), roc_area=roc_curve(ranked(val, test, moved)).area,
                    above_majority=above(float(matrix.trace() / matrix.sum()) - majority(val, test)))
    return report


hard = lambda val, test, moved: replace(test, logits=F.one_hot(moved.answers, 2).float())


def as_it_was(val, test):
    return reporting(lambda v, t: choose_threshold(t), axis=0, ranked=hard, majority=lambda v, t: 0.5)(val, test)


# 4. Nine cats in ten
NINE = dict(threshold=0.437, cats_found=0.893, dogs_called_cats=0.098, promise="broken")


def by_code():
    folder = experiments_dir() / "pets_compact"
    val, test = (load_predictions(folder / f"{split}.safetensors") for split in ("val", "test"))
    cat = val.probabilities[:, 0]
    threshold = max(t for t in cat[val.targets == 0].tolist() if (cat[val.targets == 0] >= t).double().mean() >= 0.9)
    found, called = ((test.probabilities[test.targets == c, 0] >= threshold).float().mean() for c in (0, 1))
    return dict(threshold=threshold, cats_found=found, dogs_called_cats=called, promise="kept" if found >= 0.9 else "broken")


# 5. A plan
BASE = dict(network="resnet20", epochs=30, lr=0.1, weight_decay=5e-4, flip=True, pad_crop=4, label_smoothing=0.0)


def planned(n=9, without=(), smooth=(), **changes):
    "A good plan of n seeds for each arm, with changes"
    seeds = list(range(n))
    return {**dict(arms={"without": {**BASE, **dict(without)}, "with": {**BASE, "label_smoothing": 0.1, **dict(smooth)}}, seeds={"without": seeds, "with": list(seeds)},
                   decide_on="validation", report_on="test", smallest_gain=round(2 * 0.3 * (2 / n) ** 0.5, 2)), **changes}


ANSWERS = {
    "roc_area": dict(
        right={"every pair": every_pair, "sorted and searched": by_search, "ranks": by_ranks, "signs": with_sign},
        wrong={
            "equal counts one": (checked(lambda p, n: (p[:, None] >= n).double().mean().item()), "half"),
            "equal counts nothing": (checked(lambda p, n: (p[:, None] > n).double().mean().item()), "half"),
            "the wrong way round": (lambda s, t: every_pair(s, 1 - t), "turned round"),
            "decided at one half": (lambda s, t: every_pair((s > 0.5).float(), t), "hard labels"),
            "101 thresholds": (steps_of_thresholds, "threshold"),
            "ranks that break ties": (ranks_without_ties, "Equal scores"),
            "clamped": (lambda s, t: every_pair(s.clamp(0, 1), t), "cut off"),
            "matched pairs": (checked(lambda p, n: (p[:min(len(p), len(n))] > n[:min(len(p), len(n))]).double().mean().item()), "should be"),
            "nothing raised": (no_question, "ValueError"),
            "one half without pairs": (half_without_pairs, "ValueError"),
            "another error": (asserts, "ValueError"),
            "in place": (squashed_in_place, "in place"),
            "difference of the means": (checked(lambda p, n: float(p.mean() - n.mean())), "should be"),
        }),
    "always_dog": dict(
        right={"fractions": DOG, "rounded": ROUNDED, "tensors": {k: torch.tensor(v) for k, v in DOG.items()}},
        wrong={
            "share of the cats": ({**DOG, "accuracy": 420 / 1024}, "share of the cats"),
            "in percent": ({**DOG, "accuracy": 58.98}, "per cent"),
            "balanced as plain": ({**DOG, "balanced_accuracy": 604 / 1024}, "recall"),
            "F1 of the dogs": ({**DOG, "macro_f1": 1208 / 1628}, "cat"),
            "weighted F1": ({**DOG, "macro_f1": 604 / 1024 * 1208 / 1628}, "weigh"),
            "an area of one": ({**DOG, "roc_area": 1.0}, "half"),
            "an area of nothing": ({**DOG, "roc_area": 0.0}, "half"),
            "a fraction": ({**DOG, "points_above": 0.046}, "points"),
            "above a coin": ({**DOG, "points_above": 13.6}, "one half"),
            "percent, not points": ({**DOG, "points_above": 7.8}, "points"),
            "the wrong sign": ({**DOG, "points_above": -4.6}, "sign"),
            "one left open": ({**DOG, "macro_f1": None}, "macro_f1"),
        }),
    "report": dict(
        right={"mended": mended, "by hand": by_hand},
        wrong={
            "threshold from test": (reporting(lambda val, test: choose_threshold(test)), "validation"),
            "threshold left at one half": (reporting(lambda val, test: 0.5), "threshold"),
            "threshold for accuracy": (reporting(lambda val, test: choose_threshold(val, goal="accuracy")), "balanced"),
            "precision": (reporting(axis=0), "precision"),
            "hard answers": (reporting(ranked=hard), "answers"),
            "area of validation": (reporting(ranked=lambda val, test, moved: val), "validation"),
            "above one half": (reporting(majority=lambda val, test: 0.5), "one half"),
            "above the dogs": (reporting(majority=lambda val, test: float((test.targets == 1).float().mean())), "commonest"),
            "above validation's share": (reporting(majority=lambda val, test: float(val.targets.bincount().max()) / len(val)), "validation"),
            "never negative": (reporting(above=lambda v: max(v, 0.0)), "may be negative"),
            "in points": (reporting(above=lambda v: 100 * v), "points"),
            "all on validation": (reporting(asked=lambda val, test: val, ranked=lambda val, test, moved: val, majority=lambda val, test: float(val.targets.bincount().max()) / len(val)), "test"),
            "as it was": (as_it_was, "all four faults"),
        }),
    "nine_in_ten": dict(
        right={"rounded": NINE, "by code": by_code()},
        wrong={
            "one cat too few": ({**NINE, "threshold": 0.445}, "90 %"),
            "one cat too many": ({**NINE, "threshold": 0.379}, "highest"),
            "a quantile between two cats": ({**NINE, "threshold": 0.4437}, "90 %"),
            "chosen on test": (dict(threshold=0.433, cats_found=0.900, dogs_called_cats=0.099, promise="kept"), "validation"),
            "dog as the positive class": ({**NINE, "threshold": 0.558}, "dog"),
            "one half": (dict(threshold=0.5, cats_found=0.869, dogs_called_cats=0.078, promise="broken"), "90 %"),
            "validation's cats": ({**NINE, "cats_found": 45 / 49}, "validation"),
            "validation's dogs": ({**NINE, "dogs_called_cats": 8 / 77}, "validation"),
            "share of the called": ({**NINE, "dogs_called_cats": 59 / (59 + 375)}, "dogs"),
            "dogs that are called dogs": ({**NINE, "dogs_called_cats": 0.902}, "dogs"),
            "in percent": ({**NINE, "cats_found": 89.3}, "fraction"),
            "nearly is kept": ({**NINE, "promise": "kept"}, "were promised"),
            "another word": ({**NINE, "promise": False}, "text in quotes"),
        }),
    "plan_a_comparison": dict(
        right={"nine seeds": planned(9), "three seeds": planned(3), "other seeds, not rounded": planned(4, seeds={"without": [7, 1, 42, 2024], "with": [7, 1, 42, 2024]}, smallest_gain=2 * 0.3 * 0.5 ** 0.5)},
        wrong={
            "too long": (planned(10), "hours"),
            "two seeds": (planned(2), "three"),
            "one seed": (planned(1), "three"),
            "other seeds": (planned(3, seeds={"without": [0, 1, 2], "with": [3, 4, 5]}), "different seeds"),
            "a seed twice": (planned(3, seeds={"without": [0, 0, 1], "with": [0, 0, 1]}), "twice"),
            "more seeds for one": (planned(4, seeds={"without": [0, 1, 2], "with": [0, 1, 2, 3]}), "same"),
            "another rate as well": (planned(smooth={"lr": 0.05}), "lr"),
            "more epochs for both": (planned(without={"epochs": 60}, smooth={"epochs": 60}), "epochs"),
            "no smoothing": (planned(smooth={"label_smoothing": 0.0}), "label_smoothing"),
            "another smoothing": (planned(smooth={"label_smoothing": 0.2}), "0.1"),
            "arms swapped": (planned(without={"label_smoothing": 0.1}, smooth={"label_smoothing": 0.0}), "without"),
            "only what changes": (planned(arms={"without": BASE, "with": {"label_smoothing": 0.1}}), "keys"),
            "decided on test": (planned(decide_on="test"), "validation"),
            "decided on train": (planned(decide_on="train"), "train"),
            "reported on validation": (planned(report_on="validation"), "used for deciding"),
            "once the error": (planned(smallest_gain=0.14), "twice"),
            "error of one mean": (planned(smallest_gain=0.2), "difference"),
            "spread of one training": (planned(smallest_gain=0.6), "single trainings"),
        }),
}
