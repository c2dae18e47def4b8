"""Lesson 05's figures beside scikit-learn's, on cases that nobody chose; and files that are no predictions."""
import io, json

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import load_file, save_file
from sklearn import metrics as sk

from resnet_course.evaluation import (
    Predictions, classification_report, confusion_matrix, load_predictions, plot_confusion_matrix, plot_reliability, plot_roc, precision_recall_curve,
    predict, reliability, roc_curve, save_predictions, summary, surest_mistakes, visualize_test_predictions,
)
from resnet_course.training import topk_accuracies


@st.composite
def predictions(draw, classes=st.integers(2, 7)):
    "Few or many samples, classes that never occur, ties, logits from flat to extreme."
    c = draw(classes)
    n = draw(st.integers(1, 40))
    logits = draw(st.lists(st.lists(st.integers(-40, 40), min_size=c, max_size=c), min_size=n, max_size=n))
    targets = draw(st.lists(st.integers(0, c - 1), min_size=n, max_size=n))
    scale = draw(st.sampled_from([0.01, 0.1, 0.4]))  # scikit-learn clips probabilities below 2e-16
    return Predictions(torch.tensor(logits).float() * scale, torch.tensor(targets), torch.arange(n), [f"class {i}" for i in range(c)])


@settings(max_examples=100, deadline=None)
@given(predictions())
def test_reports_equal_scikit_learn(p):
    y, a, c = p.targets.numpy(), p.answers.numpy(), len(p.classes)
    assert np.array_equal(confusion_matrix(p), sk.confusion_matrix(y, a, labels=range(c)))
    ours = classification_report(p)
    names = ("precision", "recall", "f1", "support")
    assert np.allclose([[ours[k][v] for k in p.classes] for v in names], sk.precision_recall_fscore_support(y, a, labels=range(c), zero_division=0))
    for mean in ("macro", "weighted"):
        theirs = sk.precision_recall_fscore_support(y, a, labels=range(c), average=mean, zero_division=0)[:3]
        assert np.allclose([ours[f"{mean} mean"][v] for v in names[:3]], theirs)
    s = summary(p)
    recalls = sk.recall_score(y, a, labels=sorted(set(y)), average=None, zero_division=0)
    assert np.isclose(s["accuracy"], sk.accuracy_score(y, a)) and np.isclose(s["balanced_accuracy"], recalls.mean())
    assert np.isclose(s["loss"], sk.log_loss(y, p.logits.double().softmax(1).numpy(), labels=range(c)), rtol=1e-4, atol=1e-5)
    assert np.isclose(s["majority_accuracy"], np.bincount(y).max() / len(y))


@settings(max_examples=100, deadline=None)
@given(predictions(), st.integers(1, 9))
def test_top_k_equals_scikit_learn_where_nothing_ties(p, k):
    logits = p.logits.double() + torch.linspace(0, 1e-3, p.logits.numel(), dtype=torch.float64).view_as(p.logits)
    y, c = p.targets.numpy(), len(p.classes)
    if k >= c: theirs = 1.0
    elif c == 2: theirs = sk.accuracy_score(y, logits.argmax(1).numpy())          # scikit-learn's own takes no two columns
    else: theirs = sk.top_k_accuracy_score(y, logits.numpy(), k=k, labels=range(c))
    assert np.isclose(topk_accuracies(logits, p.targets, (k,))[k], theirs)


@settings(max_examples=100, deadline=None)
@given(predictions(), st.integers(0, 6))
def test_curves_equal_scikit_learn(p, positive):
    positive %= len(p.classes)
    y, s = (p.targets == positive).numpy(), p.probabilities[:, positive].double().numpy()
    if y.all() or not y.any():
        with pytest.raises(ValueError, match="undefined"): roc_curve(p, positive)
        with pytest.raises(ValueError, match="undefined"): precision_recall_curve(p, positive)
        return
    curve = roc_curve(p, positive)
    x, t, thresholds = sk.roc_curve(y, s, drop_intermediate=False)
    assert np.allclose(curve.x, x) and np.allclose(curve.y, t) and np.array_equal(curve.thresholds[1:], thresholds[1:])
    assert np.isclose(curve.area, sk.roc_auc_score(y, s)) and np.isclose(precision_recall_curve(p, positive).area, sk.average_precision_score(y, s))
    assert 0 <= reliability(p).error <= 1 and reliability(p).count.sum() == len(p)


GOOD = Predictions(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]), torch.tensor([0, 1, 1]), torch.tensor([7, 8, 9]), ["a $x", "b$"])


def test_the_surest_mistake_comes_first():
    found = surest_mistakes(GOOD)
    assert [m["index"] for m in found] == [9] and found[0]["true"] == "b$" and found[0]["predicted"] == "a $x"
    ties = Predictions(torch.tensor([[0.0, 2.0], [0.0, 9.0]]), torch.tensor([0, 0]), torch.tensor([5, 3]), ["a", "b"])
    assert [m["index"] for m in surest_mistakes(ties)] == [3, 5] and [m["index"] for m in surest_mistakes(ties, 1)] == [3]


def test_a_one_class_split_has_a_summary_and_no_curve():
    one = Predictions(GOOD.logits, torch.zeros(3, dtype=torch.int64), GOOD.indices, GOOD.classes, "val")
    assert "roc_auc" not in summary(one) and summary(one)["majority_accuracy"] == 1
    with pytest.raises(ValueError, match=r"val: every sample is not 'b\$'.*needs both"): roc_curve(one)


@pytest.mark.parametrize("change, says", {
    "nan": (dict(logits=torch.full((3, 2), float("nan"))), "not finite for 3 of 3 samples, the first at 0"), "inf": (dict(logits=torch.tensor([[0.0, 1], [0, 1], [float("inf"), 0]])), "the first at 2"),
    "shape": (dict(logits=torch.zeros(3, 3)), r"expected \(3, 2\)"), "target": (dict(targets=torch.tensor([0, 2, 1])), r"targets: 0..2; expected 0..1"),
    "empty": (dict(logits=torch.zeros(0, 2), targets=torch.zeros(0, dtype=torch.int64), indices=torch.zeros(0, dtype=torch.int64)), "no samples"),
}.values(), ids=["nan", "inf", "shape", "target", "empty"])
def test_what_cannot_be_is_refused(change, says):
    with pytest.raises(ValueError, match=says): Predictions(**{**vars(GOOD), **change})


def test_a_shuffled_loader_and_an_empty_one_are_refused():
    class Loader(list):
        train = True
    with pytest.raises(ValueError, match="shuffles"): predict(torch.nn.Identity(), Loader(), ["a", "b"])
    with pytest.raises(ValueError, match="no samples"): predict(torch.nn.Identity(), [], ["a", "b"])


def test_files_that_are_no_predictions(tmp_path):
    path = tmp_path / "p.safetensors"
    save_predictions(GOOD, path, torch.float16)
    again = load_predictions(path, GOOD.classes)
    assert torch.equal(again.probabilities, GOOD.probabilities) and again.indices.tolist() == [7, 8, 9] and again.name == GOOD.name
    with pytest.raises(ValueError, match="expected cat, dog"): load_predictions(path, ["cat", "dog"])
    with pytest.raises(ValueError, match="no such file"): load_predictions(tmp_path / "none")
    whole = path.read_bytes()
    for n in (0, 5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:n])
        with pytest.raises(ValueError, match="damaged"): load_predictions(path)
    path.write_bytes(whole)
    for key in ("logits", "targets", "indices"):
        save_file({k: v for k, v in load_file(path).items() if k != key}, tmp_path / "part", metadata=dict(about=json.dumps(dict(classes=GOOD.classes, name="test"))))
        with pytest.raises(ValueError, match="damaged"): load_predictions(tmp_path / "part")
    save_file(load_file(path), tmp_path / "bare")
    with pytest.raises(ValueError, match="damaged"): load_predictions(tmp_path / "bare")


def test_every_plot_draws_where_it_is_told_and_leaves_nothing_open():
    import matplotlib.pyplot as plt
    from matplotlib.figure import Figure
    axes = Figure().subplots(2, 2).flat
    images = torch.zeros(10, 3, 4, 4, dtype=torch.uint8)
    for draw, ax in zip((plot_confusion_matrix, plot_roc, plot_reliability, lambda p, ax: visualize_test_predictions(p, images, ax=ax)), axes):
        assert draw(GOOD, ax=ax) is ax
        ax.figure.savefig(io.BytesIO())        # a `$` in a class name is a dollar
    assert not plt.get_fignums()
    right = Predictions(GOOD.logits[:2], GOOD.targets[:2], GOOD.indices[:2], GOOD.classes)
    assert "no mistakes" in visualize_test_predictions(right, images).texts[0].get_text()
