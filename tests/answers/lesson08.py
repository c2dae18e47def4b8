"Answers to the exercises of lesson 08, written from their text alone: right ones to be accepted, wrong ones with words that the message must hold."
import numpy as np
import torch

from resnet_course.core import experiments_dir
from resnet_course.evaluation import confusion_matrix
from resnet_course.experiment import read_predictions

# ---------------------------------------------------------------- other_pictures

MATRIX = np.asarray(confusion_matrix(read_predictions(experiments_dir() / "pets_compact"))).astype(float)
CATS, DOGS = 1183, 3669 - 1183


def figures(matrix=MATRIX, cats=CATS, dogs=DOGS, **change):
    cat, dog = matrix[0, 0] / matrix[0].sum(), matrix[1, 1] / matrix[1].sum()
    out = dict(always_dog=dogs / (cats + dogs), always_dog_balanced=0.5, accuracy=(cats * cat + dogs * dog) / (cats + dogs), balanced=(cat + dog) / 2,
               cat_precision=cats * cat / (cats * cat + dogs * (1 - dog)))
    return {k: float(v) for k, v in {**out, **change}.items()}


def by_a_scaled_matrix():
    "The matrix of the full split: rows scaled to the new sizes"
    full = MATRIX / MATRIX.sum(1, keepdims=True) * np.array([[CATS], [DOGS]])
    recalls = np.diag(full) / full.sum(1)
    return dict(always_dog=full[1].sum() / full.sum(), always_dog_balanced=torch.tensor(0.5), accuracy=np.trace(full) / full.sum(), balanced=recalls.mean(), cat_precision=full[0, 0] / full[:, 0].sum())


HERE, TURNED = figures(cats=MATRIX[0].sum(), dogs=MATRIX[1].sum()), figures(MATRIX.T)
OTHER_PICTURES = dict(
    right={"by recalls": figures(), "by a scaled matrix": by_a_scaled_matrix(), "four places": {k: round(v, 4) for k, v in figures().items()}},
    wrong={"as on the subset": (HERE, "subset"),
           "always dog on the subset": (figures(always_dog=HERE["always_dog"]), "subset"),
           "always cat": (figures(always_dog=CATS / (CATS + DOGS)), "cat"),
           "always dog, not balanced": (figures(always_dog_balanced=figures()["always_dog"]), "recall"),
           "balanced zero": (figures(always_dog_balanced=0.0), "recall"),
           "accuracy does not move": (figures(accuracy=HERE["accuracy"]), "subset"),
           "accuracy is the mean of the recalls": (figures(accuracy=figures()["balanced"]), "recalls"),
           "balanced accuracy moves": (figures(balanced=figures()["accuracy"]), "balanced"),
           "precision does not move": (figures(cat_precision=HERE["cat_precision"]), "subset"),
           "recall for precision": (figures(cat_precision=MATRIX[0, 0] / MATRIX[0].sum()), "recall"),
           "precision of dog": (figures(cat_precision=DOGS * MATRIX[1, 1] / MATRIX[1].sum() / (DOGS * MATRIX[1, 1] / MATRIX[1].sum() + CATS * MATRIX[0, 1] / MATRIX[0].sum())), "dog"),
           "rows and columns": (TURNED, "rows"),
           "cats and dogs exchanged": (figures(cats=DOGS, dogs=CATS), "cats"),
           "percent": ({k: 100 * v for k, v in figures().items()}, "from 0 to 1"),
           "two places": ({k: round(v, 2) for k, v in figures().items()}, "places"),
           "one left open": ({**figures(), "balanced": None}, "balanced"),
           "one missing": ({k: v for k, v in figures().items() if k != "balanced"}, "balanced"),
           "a tuple": (tuple(figures().values()), "dict"),
           "words": ({**figures(), "accuracy": "lower"}, "number")})

# ---------------------------------------------------------------- threshold


def recalls(answers, targets): return [(answers[targets == c] == c).mean() for c in (0, 1)]


def balanced(threshold, scores, targets): return float(np.mean(recalls((scores >= threshold).astype(int), targets)))


def threshold_by_max(val, test):
    best = max(val[0], key=lambda t: balanced(t, *val))
    return float(best), balanced(best, *test)


def threshold_by_table(val, test):
    "All candidates at once; the largest of the best; the rate of true answers minus that of false alarms"
    scores, targets = val
    candidates = np.unique(scores)
    said = scores[None] >= candidates[:, None]
    gain = said[:, targets == 1].mean(1) - said[:, targets == 0].mean(1)
    t = candidates[np.flatnonzero(gain >= gain.max() - 1e-12)[-1]]
    hits, alarms = np.mean(test[0][test[1] == 1] >= t), np.mean(test[0][test[1] == 0] >= t)
    return t, (hits + 1 - alarms) / 2


def threshold_by_a_loop(val, test):
    found = []
    for split_t in sorted(set(val[0].tolist())): found.append((balanced(split_t, *val), split_t))
    t = max(found)[1]
    return [t, balanced(t, *test)]


def chosen(measure=balanced, on=lambda val, test: val, candidates=lambda val, test: val[0], report=balanced, split=lambda val, test: test, best=max, end=lambda t, b: (float(t), float(b))):
    def judge(val, test):
        t = best(candidates(val, test), key=lambda t: measure(t, *on(val, test)))
        return end(t, report(t, *split(val, test)))
    return judge


def both(val, test): return tuple(np.concatenate(p) for p in zip(val, test))
def above(t, scores, targets): return float(np.mean(recalls((scores > t).astype(int), targets)))
def accuracy(t, scores, targets): return float(((scores >= t) == targets).mean())


def f1(t, scores, targets):
    said = scores >= t
    return 2 * (said & (targets == 1)).sum() / (said.sum() + (targets == 1).sum())


def precisions(t, scores, targets):
    said = scores >= t
    return float(np.mean([(targets[said == c] == c).mean() if (said == c).any() else 0 for c in (0, 1)]))


def as_it_was(val, test):
    def right(threshold, scores, targets): return ((scores > threshold) == targets).mean()
    scores, targets = np.concatenate([val[0], test[0]]), np.concatenate([val[1], test[1]])
    best = max(scores, key=lambda t: right(t, scores, targets))
    return float(best), float(right(best, *test))


def sorts_in_place(val, test):
    scores, targets = val
    order = scores.argsort()
    scores[:] = scores[order]; targets[:] = targets[order]
    return threshold_by_max(val, test)


THRESHOLD = dict(
    right={"max": threshold_by_max, "a table": threshold_by_table, "a loop, a list": threshold_by_a_loop},
    wrong={"as given": (as_it_was, "test"),
           "chosen on both": (chosen(on=both, candidates=lambda v, t: both(v, t)[0]), "test"),
           "chosen on test": (chosen(on=lambda v, t: t, candidates=lambda v, t: t[0]), "test"),
           "candidates of test": (chosen(candidates=lambda v, t: both(v, t)[0], best=lambda c, key: max(sorted(c), key=lambda s: (key(s), -s))), "validation"),
           "above, not at": (chosen(measure=above, report=above), "above"),
           "above in choosing": (chosen(measure=above), "above"),
           "above in reporting": (chosen(report=above), "counts as class 1"),
           "accuracy": (chosen(measure=accuracy, report=accuracy), "recalls"),
           "accuracy in choosing": (chosen(measure=accuracy), "recalls"),
           "accuracy in reporting": (chosen(report=accuracy), "recalls"),
           "F1": (chosen(measure=f1), "recalls"),
           "mean of precisions": (chosen(report=precisions), "recall"),
           "figure of validation": (chosen(split=lambda v, t: v), "validation"),
           "the worst": (chosen(best=min), "another gives"),
           "one half": (lambda val, test: (0.5, balanced(0.5, *test)), "one half"),
           "a grid": (chosen(candidates=lambda v, t: np.linspace(0, 1, 101)), "another gives"),
           "exchanged": (chosen(end=lambda t, b: (b, t)), "pair"),
           "only the threshold": (chosen(end=lambda t, b: t), "pair"),
           "only the accuracy": (chosen(end=lambda t, b: b), "pair"),
           "the position of the threshold": (lambda val, test: (int(np.argmax([balanced(t, *val) for t in val[0]])), threshold_by_max(val, test)[1]), "occur"),
           "sorted in place": (sorts_in_place, "in place"),
           "percent": (chosen(end=lambda t, b: (t, 100 * b)), "1")})

# ---------------------------------------------------------------- one_question

COMMON = """
data:
  dataset: pets
  target: binary
  image_size: 64
  batch_size: 64
  val_fraction: 0.2
{augmentation}model:
  name: resnet18
training:
  epochs: 40
  optimizer: adamw
  lr: 0.001
  weight_decay: 0.05
  class_weights: true
seeds: [0, 1, 2]
test: false
"""


def text(augmentation="", change=(), name="pets_plain", more=""):
    out = f"name: {name}\n" + COMMON.format(augmentation=augmentation) + more
    for old, new in change:
        assert old in out, old
        out = out.replace(old, new)
    return out


AUGMENTATION = "  random_resized_crop: [0.25, 1.0]\n  flip: true\n"


def design(plain=(), augmented=(), augmentation=AUGMENTATION, bare="", names=("pets_plain", "pets_augmented"), more=("", "")):
    return dict(plain=text(bare, plain, names[0], more[0]), augmented=text(augmentation, augmented, names[1], more[1]))


def twice(*change, **kwargs): return design(change, change, **kwargs)


TERSE = {"plain": """{name: a, description: nothing moves, data: {dataset: pets, target: binary, image_size: 32, val_fraction: 0.1, flip: false, cutout: 0, pad_crop: 0},
 model: {name: resnet18, options: {stem: cifar}}, training: {epochs: 10, class_weights: true, keep: best}, seeds: [7, 8, 9, 10], test: false, results: []}""",
         "augmented": """{name: b, description: mirrored, data: {dataset: pets, target: binary, image_size: 32, val_fraction: 0.1, flip: true},
 model: {name: resnet18, options: {stem: cifar}}, training: {epochs: 10, class_weights: true, keep: best}, seeds: [7, 8, 9, 10], test: false}"""}

ONE_QUESTION = dict(
    right={"crop and mirror": design(), "terse, only mirrored": TERSE, "pad and jitter, curves": twice(("epochs: 40", "epochs: 60"), ("val_fraction: 0.2", "val_fraction: 0.3"),
           augmentation="  pad_crop: 4\n  jitter: 0.3\n  cutout: 8\n", more=("results: [learning_curves]\n",) * 2)},
    wrong={"two things changed": (design(augmented=[("epochs: 40", "epochs: 60")]), "epochs"),
           "another rate": (design(augmented=[("lr: 0.001", "lr: 0.002")]), "lr"),
           "another size": (design(augmented=[("image_size: 64", "image_size: 48")]), "image_size"),
           "nothing changed": (design(augmentation=""), "augment"),
           "plain mirrors": (design(bare="  flip: true\n"), "flip"),
           "exchanged": (dict(plain=design()["augmented"], augmented=design()["plain"]), "plain"),
           "one name": (design(names=("pets", "pets")), "name"),
           "no name": ({**design(), "plain": design()["plain"].replace("name: pets_plain\n", "")}, "name"),
           "two seeds": (twice(("seeds: [0, 1, 2]", "seeds: [0, 1]")), "at least three"),
           "one seed by default": (twice(("seeds: [0, 1, 2]\n", "")), "at least three"),
           "other seeds": (design(augmented=[("[0, 1, 2]", "[3, 4, 5]")]), "seeds"),
           "a seed twice": (twice(("[0, 1, 2]", "[0, 0, 1]")), "twice"),
           "test measured": (twice(("test: false\n", "")), "test"),
           "a figure of the test split": (design(more=("results: [confusion_matrix]\n",) * 2), "results"),
           "no class weights": (twice(("  class_weights: true\n", "")), "class_weights"),
           "breeds": (twice(("target: binary", "target: breed")), "binary"),
           "another data set": (twice(("dataset: pets\n  target: binary\n  image_size: 64\n", "dataset: cifar10\n")), "pets"),
           "large pictures": (twice(("image_size: 64", "image_size: 128")), "64"),
           "no size": (twice(("  image_size: 64\n", "")), "image_size"),
           "no validation": (twice(("val_fraction: 0.2", "val_fraction: 0.0")), "val_fraction"),
           "half for validation": (twice(("val_fraction: 0.2", "val_fraction: 0.5")), "val_fraction"),
           "resnet50": (twice(("name: resnet18", "name: resnet50")), "resnet18"),
           "weights to begin with": (twice(("name: resnet18", "name: resnet18\n  weights: torchvision")), "random"),
           "mixup": (twice(("epochs: 40", "epochs: 40\n  mixup: 0.2")), "MixUp"),
           "mixup as the augmentation": (design(augmented=[("epochs: 40", "epochs: 40\n  mixup: 0.2")], augmentation=""), "MixUp"),
           "means given": (twice(("val_fraction: 0.2", "val_fraction: 0.2\n  mean: [0.5, 0.5, 0.5]\n  std: [0.2, 0.2, 0.2]")), "mean"),
           "too long": (twice(("epochs: 40", "epochs: 100")), "60"),
           "too short": (twice(("epochs: 40", "epochs: 5")), "10"),
           "early stopping": (twice(("epochs: 40", "epochs: 40\n  early_stopping: 5")), "early stopping"),
           "scales": (design(more=("scales: {smoke: {training.epochs: 1}}\n",) * 2), "scales"),
           "a misspelt key": (twice(("val_fraction", "validation_fraction")), "validation_fraction"),
           "augmentation under training": (design(augmented=[("epochs: 40", "epochs: 40\n  flip: true")], augmentation=""), "flip"),
           "a wrong type": (twice(("epochs: 40", "epochs: forty")), "epochs"),
           "both crops": (design(augmentation="  random_resized_crop: [0.25, 1.0]\n  pad_crop: 4\n"), "pad_crop"),
           "no YAML": (dict(plain="name: [", augmented=design()["augmented"]), "YAML"),
           "only names": (dict(plain="name: pets_plain\n", augmented="name: pets_augmented\n"), "data"),
           "dicts": (dict(plain={"name": "a"}, augmented={"name": "b"}), "text"),
           "one text": (design()["plain"], "dict"),
           "one experiment": (dict(plain=design()["plain"]), "augmented"),
           "one left open": (dict(plain=design()["plain"], augmented=None), "augmented")})

ANSWERS = {"other_pictures": OTHER_PICTURES, "threshold": THRESHOLD, "one_question": ONE_QUESTION}
