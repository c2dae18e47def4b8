"Answers to the project, written from its text alone: folders of made-up runs, as `run_experiment` leaves them."
import copy, json, shutil, statistics, tempfile
from pathlib import Path

import yaml

from resnet_course.core import make_config
from resnet_course.experiment import Experiment, make_record
from resnet_course.records import History

HOME = tempfile.TemporaryDirectory(prefix="answers18")
STUDENT = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445}  # 97.5 % of Student's t by degrees of freedom, from a table
SOURCES = {"embedded": "embedded data (shapes, drawn by the course; not real pictures)", "cifar10": "CIFAR-10 (Krizhevsky 2009)"}
OWN, BASE, SEEDS = [0.80, 0.82, 0.81], [0.75, 0.76, 0.77], (0, 1, 2)  # accuracy on the test split, seed by seed


def run(folder, name, seeds=(0,), test=False, val=0.8, scores=None, epochs=4, trained=None, dataset="embedded", fingerprint="f" * 64, leave_out=(), **changes):
    "A finished run: config.yaml, record.json and each seed's history.csv."
    values = dict(name=name, data=dict(dataset=dataset, batch_size=32, val_fraction=0.2), model=dict(name="resnet20"), training=dict(epochs=epochs, lr=0.1), seeds=list(seeds), test=test)
    for key, value in changes.items():
        here = values
        *parents, last = key.split("__")
        for p in parents: here = here.setdefault(p, {})
        here[last] = value
    experiment = make_config(Experiment, values)
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    figures = lambda a, b=None: dict(loss=1 - a, accuracy=a, balanced_accuracy=b or a - 0.01, macro_f1=b or a - 0.02, majority_accuracy=0.1)
    for i, seed in enumerate(seeds):
        here = folder / f"seed{seed}"
        here.mkdir()
        v = val[i] if isinstance(val, (list, tuple)) else val
        metrics = dict(val=v if isinstance(v, dict) else figures(v))
        if test: metrics["test"] = figures(scores[i])
        rows = [dict(epoch=e + 1, lr=0.1, train_loss=1.0, train_accuracy=0.5, val_loss=1.0, val_accuracy=metrics["val"]["accuracy"], seconds=1.0) for e in range(trained or epochs)]
        History(rows).to_csv(here / "history.csv")
        data = dict(source=SOURCES[dataset], fingerprint=fingerprint, train=400, val=100, test=100, classes=["a", "b"], shape=[3, 32, 32], mean=[0.5] * 3, std=[0.2] * 3)
        result = dict(seed=seed, metrics=metrics, epochs=len(rows), seconds=float(len(rows)), weights_sha256="0" * 64, data=data, environment={}, code=None, begins_with=None, precision="fp32 on cpu")
        (here / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "record.json").write_text(json.dumps(make_record(folder)), encoding="utf-8")
    for path in leave_out: (folder / path).unlink()


def student(own, base):
    "The 95 % interval of the mean difference, by hand."
    d = [a - b for a, b in zip(own, base)]
    half = STUDENT[len(d) - 1] * statistics.stdev(d) / len(d) ** 0.5
    return [statistics.mean(d) - half, statistics.mean(d) + half]


def project(own=None, base=None, candidates=None, lack=(), scores=OWN, base_scores=BASE, seeds=SEEDS, common=None, text=None, as_path=False, **report):
    "The folder of a run with everything around it; by default nothing is wrong with it."
    home = Path(tempfile.mkdtemp(dir=HOME.name))
    common = common or {}
    if candidates is None: candidates = [dict(val=0.80), dict(val=0.74, training__lr=0.01)]
    for i, changes in enumerate(candidates): run(home / f"candidate{i}", f"candidate{i}", **{**common, **changes})
    run(home / "own", "own", **{**dict(seeds=seeds, test=True, val=0.8, scores=scores), **common, **(own or {})})
    run(home / "baseline", "baseline", **{**dict(seeds=seeds, test=True, val=0.75, scores=base_scores, model__name="plain20"), **common, **(base or {})})
    says = dict(
        question="Do shortcuts help a network of 20 layers on drawn shapes?", changed=["model.name"], baseline="../baseline",
        candidates=[f"../candidate{i}" for i in range(len(candidates))], metric="accuracy",
        difference=statistics.mean(scores) - statistics.mean(base_scores), interval=student(scores, base_scores), conclusion="better",
        data="stand-in", limits="Four epochs on drawn shapes, one size of network; nothing about real pictures.",
    )
    says = {k: v for k, v in copy.deepcopy({**says, **report}).items() if k not in lack}
    if text != "": (home / "own" / "report.yaml").write_text(text or yaml.safe_dump(says), encoding="utf-8")
    return home / "own" if as_path else str(home / "own")


def edited():
    "Afterwards a better figure was written into the record, for one seed."
    folder = Path(project(difference=0.06, interval=[0.01, 0.11]))
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    record["per_seed"][0]["metrics"]["test"]["accuracy"] = 0.83
    record["metrics"]["test"]["accuracy"]["mean"] = 0.82
    (folder / "record.json").write_text(json.dumps(record), encoding="utf-8")
    return str(folder)


def without_seed():
    "The last training was broken off and its folder thrown away; the record still speaks of it."
    folder = Path(project())
    shutil.rmtree(folder / "seed2")
    return str(folder)


CLOSE = dict(scores=[0.80, 0.82, 0.81], base_scores=[0.79, 0.83, 0.80])

FIVE = dict(seeds=(3, 5, 7, 11, 13), scores=[0.80, 0.82, 0.81, 0.80, 0.83], base_scores=[0.86, 0.85, 0.87, 0.86, 0.88])
TWO_F1 = [dict(val=dict(loss=1.0, accuracy=0.80, balanced_accuracy=0.7, macro_f1=0.60)), dict(val=dict(loss=1.0, accuracy=0.79, balanced_accuracy=0.7, macro_f1=0.70), training__lr=0.01)]

ANSWERS = {
    "project": dict(
        right={
            "better": project(),
            "undecided": project(**CLOSE, conclusion="undecided"),
            "worse, five seeds": project(**FIVE, conclusion="worse"),
            "balanced accuracy, a Path": project(metric="balanced_accuracy", as_path=True),
            "chosen by macro F1": project(candidates=TWO_F1, own=dict(training__lr=0.01), base=dict(training__lr=0.01), metric="macro_f1"),
            "three candidates, with three seeds each": project(candidates=[dict(val=[0.78, 0.80, 0.82], seeds=SEEDS), dict(val=[0.83, 0.77, 0.77], seeds=SEEDS, training__lr=0.01), dict(val=[0.7, 0.7, 0.7], seeds=SEEDS, training__lr=0.5)]),
            "two settings differ": project(base=dict(training__lr=0.01), changed=["training.lr", "model.name"]),
            "an option of the model": project(base=dict(model__name="resnet20", model__options__shortcut="B"), changed=["model.options.shortcut"]),
            "augmentation, real pictures": project(base=dict(model__name="resnet20", data__flip=True), changed=["data.flip"], common=dict(dataset="cifar10"), data="real"),
            "figures rounded": project(difference=0.05, interval=[0.025, 0.075]),
        },
        wrong={
            "no folder yet": (None, "no answer yet"),
            "no such folder": (str(Path(HOME.name) / "nowhere"), "nowhere"),
            "no report": (project(text=""), "report.yaml"),
            "not YAML": (project(text="question: [what"), "YAML"),
            "a key is missing": (project(lack=("limits",)), "limits"),
            "two seeds": (project(seeds=(0, 1), scores=[0.80, 0.82], base_scores=[0.75, 0.78], interval=[-0.018, 0.108], conclusion="undecided"), "three"),
            "other seeds for the baseline": (project(base=dict(seeds=(3, 4, 5))), "seeds"),
            "one candidate": (project(candidates=[dict(val=0.8)]), "two different candidates"),
            "candidates were tested": (project(candidates=[dict(val=0.8, test=True, scores=[0.8]), dict(val=0.7, test=True, scores=[0.7], training__lr=0.01)]), "test"),
            "not the best candidate": (project(candidates=[dict(val=0.70), dict(val=0.79, training__lr=0.01)]), "Choose on validation"),
            "no candidate has these settings": (project(candidates=[dict(val=0.8, training__lr=0.2), dict(val=0.7, training__lr=0.01)]), "candidate"),
            "best by another metric": (project(candidates=TWO_F1, metric="macro_f1"), "Choose on validation"),
            "candidates on other data": (project(candidates=[dict(val=0.8), dict(val=0.7, training__lr=0.01, fingerprint="e" * 64)]), "data"),
            "candidates with another split": (project(candidates=[dict(val=0.8), dict(val=0.7, training__lr=0.01, data__split_seed=1)]), "split"),
            "own was not tested": (project(own=dict(test=False)), "test"),
            "the baseline was not tested": (project(base=dict(test=False)), "test"),
            "longer training": (project(base=dict(epochs=2), changed=["model.name", "training.epochs"]), "epochs"),
            "stopped earlier": (project(base=dict(trained=2)), "epochs"),
            "another batch size": (project(base=dict(data__batch_size=64), changed=["model.name", "data.batch_size"]), "batch"),
            "more data": (project(base=dict(data__limit=100), changed=["model.name", "data.limit"]), "limit"),
            "early stopping for one": (project(base=dict(training__early_stopping=3), changed=["model.name", "training.early_stopping"]), "early_stopping"),
            "the baseline on other data": (project(base=dict(fingerprint="e" * 64)), "data"),
            "the baseline with another split": (project(base=dict(data__split_seed=1), changed=["model.name", "data.split_seed"]), "split"),
            "no difference": (project(base=dict(model__name="resnet20"), changed=[]), "same settings"),
            "a change is hidden": (project(base=dict(training__lr=0.01)), "training.lr"),
            "a change too many": (project(changed=["model.name", "training.lr"]), "training.lr"),
            "a section for a key": (project(changed=["model"]), "model.name"),
            "difference turned round": (project(difference=-0.05), "sign"),
            "difference in points": (project(difference=5.0), "share"),
            "difference on validation": (project(base=dict(val=0.70), difference=0.10), "validation"),
            "the best seed": (project(difference=0.06), "difference of one seed, the 2. of 3"),
            "interval by the normal distribution": (project(interval=[0.05 - 1.96 * 0.01 / 3**0.5, 0.05 + 1.96 * 0.01 / 3**0.5]), "Student"),
            "the standard deviation": (project(interval=[0.04, 0.06]), "deviation"),
            "interval of the own run alone": (project(interval=[0.81 - 0.0248, 0.81 + 0.0248]), "own figures"),
            "interval turned round": (project(interval=[0.0748, 0.0252]), "lower one comes first"),
            "one number for an interval": (project(interval=0.025), "two ends"),
            "better, though 0 is inside": (project(**CLOSE, conclusion="better"), "undecided"),
            "undecided, though it is not": (project(conclusion="undecided"), "better"),
            "words for the conclusion": (project(conclusion="significant"), "undecided"),
            "drawn pictures as real ones": (project(data="real"), "drawn"),
            "loss as metric": (project(metric="loss"), "metric"),
            "no real question": (project(question="Which?"), "question"),
            "no limits": (project(limits="none"), "limits"),
            "a folder that is not there": (project(baseline="../base"), "no folder 'base'"),
            "history thrown away": (project(own=dict(leave_out=("seed1/history.csv",))), "history.csv"),
            "a seed thrown away": (without_seed(), "seed2"),
            "the record edited": (edited(), "result.json"),
        },
    ),
}
