"""A config from anybody: it is an experiment, or one paragraph says what is wrong with it. Never another error, never a long wait.

Texts come from three places: the YAML files of experiments/ with something spoilt in the text, the same with something spoilt in
the tree that they mean, and trees that hypothesis makes from the keys that there are.
"""
import copy, datetime, math, random, re, time

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import resnet_course.contest as contest
import resnet_course.experiment as experiment
from resnet_course.cli import main
from resnet_course.contest import read_contest, run_contest
from resnet_course.core import ConfigError
from resnet_course.experiment import Experiment, load_experiment, read_yaml

ODD = ["2024-13-45", "2024-01-01", "2024-01-01T99:00:00Z", "!!int abc", "!!float x", "!!bool maybe", "!!timestamp x", "!!int ''", "!!binary x", "!!set {x}", "!!omap [1]", "!!null x", "!!str [1]", "!!map x", "!!seq x",
       "9" * 5000, "-" * 50, "1e999999999", "-.inf", ".nan", "0x", "0b2", "0o99", "1:99:99", "1_0", "=", "~", "''", "\"\\0\"", "\"\\ud800\"", "\"x\\n\"", "&x [*x]", "&x {b: *x}", "*b", "!x y", "!!python/object/apply:os.system [ls]",
       "!!python/name:os.system", "[" * 500, "{a: " * 500, "[[[]]]", "{}", "{1: 2}", "{[1]: 2}", "{? {a: 1} : 2}", "{<<: 3}", "{<<: [3]}", "yes", "on", "Null", "| \n x", ">", "@", "`", "%", "\t", "\x00", "\x85", "\ufeff", "\U0001f600", "../../x", "a" * 20_000]
VALUES = [None, True, 0, -1, 10**30, -10**30, 0.5, math.inf, -math.inf, math.nan, "", "x", "\0", "\ud800", "é" * 300, "../..", [], {}, [[]], [None], {"x": None}, {1: 2}, {None: 1}, {True: 2}, {0.5: 1}, ["a"] * 50, [1, "a", None], [[1], {"a": [2]}], datetime.date(2024, 1, 1), b"\xff", {"smoke": 1}, list(range(40))]
LIMIT = 10     # seconds for one text, on a busy machine


def real(root):
    "The configs and contests that the course publishes."
    found = {p.read_text(encoding="utf-8"): p for p in sorted((root / "experiments").rglob("*.yaml"))}
    return [t for t, p in found.items() if p.name == "config.yaml"], [t for t, p in found.items() if p.name == "contest.yaml"]


def spoilt_text(text, rng):
    "A text with one to three things done to it."
    lines = text.splitlines()
    for _ in range(rng.randint(1, 3)):
        i, what = rng.randrange(len(lines)), rng.randrange(9)
        if what == 0: del lines[i]
        elif what == 1: lines.insert(i, lines[rng.randrange(len(lines))])
        elif what == 2: lines[i] = " " * rng.randint(0, 5) + lines[i].lstrip()
        elif what in (3, 4): lines[i] = lines[i].partition(":")[0] + ": " + rng.choice(ODD)
        elif what == 5: lines[i] = lines[i][:(k := rng.randrange(len(lines[i]) + 1))] + rng.choice(["{", "}", "[", "]", ":", "- ", "#", "&a ", "*a", "!", "\t", "'", '"', ",", "? ", "\x07", "\xe9"]) + lines[i][k:]
        elif what == 6: lines[i] = rng.choice(ODD) + ": " + lines[i].rpartition(": ")[2]
        elif what == 7: lines = lines[:i + 1]
        else: lines.insert(i, rng.choice(["---", "...", "%YAML 9.9", "a: b", "- c", "? d", "? [1]\n: 2", ": e"]))
        lines = lines or [""]
    return "\n".join(lines)


def places(tree, path=()):
    "All keys of a tree of dicts and lists."
    for k, v in tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ():
        yield (*path, k)
        yield from places(v, (*path, k))


def spoilt_tree(text, rng):
    "The text of a tree in which one to three values are others, keys are gone, misspelt or moved."
    tree = copy.deepcopy(yaml.safe_load(text))
    for _ in range(rng.randint(1, 3)):
        if not (there := list(places(tree))): break
        *parents, last = rng.choice(there); part = tree
        for p in parents: part = part[p]
        what = rng.randrange(5)
        if what == 0: del part[last]
        elif what == 1 and isinstance(part, dict): part[rng.choice([f"{last}s", str(last).upper(), "", last * 2, "training.lr", 3, None, "self", "model_config", "__class__"])] = part.pop(last)
        elif what == 2: part[last] = [part[last]]
        elif what == 3: part[last] = {"x": part[last]}
        else: part[last] = copy.deepcopy(rng.choice(VALUES))
    return yaml.dump(tree, allow_unicode=True)


def check(read, path, seen, **how):
    "Read a file; count what came of it, and complain about any error but ours, about a message that is none and about a wait."
    start = time.perf_counter()
    try: found = read(path, **how)
    except ConfigError as e:
        message = str(e)
        assert message.strip() and message.count("\n") <= 5 and len(message) < 3000 and "Traceback" not in message and "object at 0x" not in message, message
        seen["refused"] += 1; found = None
    except Exception as e: pytest.fail(f"{type(e).__name__}: {e}\n{path.read_text(encoding='utf-8', errors='surrogatepass')[:1500]}")
    else: seen["read"] += 1
    assert time.perf_counter() - start < LIMIT, path.read_text(encoding="utf-8", errors="surrogatepass")[:500]
    return found


def again(path, found):
    "What was read can be written and read again, as a run does with its config.yaml."
    path.write_text(yaml.safe_dump(found.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
    assert repr(load_experiment(path).model_dump(mode="json")) == repr(found.model_dump(mode="json"))


def test_fuzzed_configs(root, full, tmp_path, monkeypatch, capsys):
    "Read as a notebook does, and by the command line, which stops before it trains."
    rng, n, seen = random.Random(11), 1000 if full else 60, dict(read=0, refused=0)
    def stop(*a, **k): raise ConfigError("it would train now")
    monkeypatch.setattr(experiment, "run_experiment", stop)
    path, configs = tmp_path / "c.yaml", real(root)[0]
    for i in range(n):
        text = (spoilt_text, spoilt_tree)[i % 2](rng.choice(configs), rng)
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        scale = rng.choice(["full", "laptop", "smoke"])
        found = check(load_experiment, path, seen, scale=scale)
        code = main(["train", str(path), "--scale", scale, "--run", str(tmp_path / "run")])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "") and "Traceback" not in err and re.match("resnet-course: |run folder: ", err) and ("it would train now" in err) == (found is not None), (code, out, err, text)
        if found: again(path, found)
    assert seen["read"] > 1 and seen["refused"] > n / 4 and not (tmp_path / "run").exists()
    with capsys.disabled(): print(f"\n{n} configs spoilt in text or tree, seed 11: {seen['refused']} refused, {seen['read']} read")


def test_fuzzed_contests(root, full, tmp_path, monkeypatch, capsys):
    rng, n, seen = random.Random(12), 300 if full else 20, dict(read=0, refused=0)
    def stop(*a, **k): raise ConfigError("it would train now")
    monkeypatch.setattr(contest, "best_rates", stop)
    path = tmp_path / "contest.yaml"; configs, contests = real(root)
    (tmp_path / "config.yaml").write_text(next(c for c in configs if "name: small_data\n" in c), encoding="utf-8")
    for i in range(n):
        path.write_text((spoilt_text, spoilt_tree)[i % 2](rng.choice(contests), rng), encoding="utf-8", errors="surrogatepass")
        found = check(read_contest, path, seen)
        if found: check(lambda _, found: run_contest(found, tmp_path / "run"), path, seen, found=found)
        code = main(["train", str(path), "--run", str(tmp_path / "run")])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "") and "Traceback" not in err and err.startswith("resnet-course: "), err
    for other in (tmp_path, tmp_path / "none.yaml", tmp_path / "bytes.yaml"):
        (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigError, match=other.name): read_contest(other)
    assert seen["read"] > 1 and seen["refused"] > n / 4
    with capsys.disabled(): print(f"\n{n} contests spoilt in text or tree, seed 12: {seen['read']} read")


def keys(model):
    "All words that are keys somewhere in a config."
    fields = getattr(model, "model_fields", None)
    return {w for name, f in fields.items() for w in (name, *keys(f.annotation))} if fields else set(getattr(model, "__annotations__", ()))


WORDS = sorted(keys(Experiment)) + ["embedded", "cifar10", "resnet20", "vit", "smoke", "laptop", "cosine", "sgd", "training.epochs", "model.options.widths"]
LEAF = st.one_of(st.sampled_from(VALUES), st.sampled_from(WORDS), st.integers(), st.floats(), st.text(max_size=8))
TREE = st.recursive(LEAF, lambda v: st.lists(v, max_size=4) | st.dictionaries(st.one_of(st.sampled_from(WORDS), LEAF.filter(lambda k: k.__hash__ is not None)), v, max_size=6), max_leaves=20)
SECTION = st.dictionaries(st.sampled_from(WORDS), TREE, max_size=6)
CONFIG = st.fixed_dictionaries(dict(name=st.sampled_from(["a", "a/b"]), data=st.one_of(st.just(dict(dataset="embedded")), SECTION), model=st.one_of(st.just(dict(name="resnet20")), SECTION)),
                               optional=dict(training=SECTION, seeds=TREE, results=TREE, scales=st.dictionaries(st.sampled_from(["smoke", "laptop", "full", "x"]), SECTION, max_size=2), test=TREE, description=TREE))


def test_made_up_configs(full, tmp_path):
    path, seen = tmp_path / "c.yaml", dict(read=0, refused=0)

    @settings(max_examples=1000 if full else 30, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.one_of(CONFIG, TREE), st.sampled_from(["full", "laptop", "smoke"]))
    def ask(tree, scale):
        path.write_text(yaml.dump(tree, allow_unicode=True), encoding="utf-8", errors="surrogatepass")
        if found := check(load_experiment, path, seen, scale=scale): again(path, found)
    ask()


def test_made_up_settings(root, full, tmp_path, monkeypatch, capsys):
    "--set and --sweep take what is typed."
    def stop(*a, **k): raise ConfigError("it would train now")
    monkeypatch.setattr(experiment, "run_experiment", stop)
    rng, path = random.Random(13), tmp_path / "c.yaml"
    path.write_text(next(c for c in real(root)[0] if "scales:" in c), encoding="utf-8")
    for _ in range(400 if full else 20):
        key = ".".join(rng.choice([*WORDS, "", "0", " ", "x"]) for _ in range(rng.randint(1, 3)))
        words = f"{key}{rng.choice(['=', '=', '=', ''])}{rng.choice(ODD)}"
        code = main(["train", str(path), rng.choice(["--set", "--sweep"]), words.replace("\0", ""), "--run", str(tmp_path / "run")])
        out, err = capsys.readouterr()
        assert (code, out) == (2, "") and "Traceback" not in err and re.match("resnet-course: |run folder: ", err), (words, err)


def test_small_texts_that_mean_much(tmp_path):
    "Aliases of aliases (a billion values in ten lines), deep nesting, endless numbers, a text that contains itself."
    with pytest.raises(ConfigError, match="line 2: aliases are not read here, write the value out"): read_yaml("a: &x 1\nb: *x")
    with pytest.raises(ConfigError, match="line 1: '2024-13-45' is no timestamp"): read_yaml("a: 2024-13-45")
    laughs = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefghi", "bcdefghij"))
    path, seen = tmp_path / "c.yaml", dict(read=0, refused=0)
    for text in (laughs, "[" * 1100, "{a: " * 1100, "- " * 1100, "? " * 1100, "name: " + "9" * 20_000, "name: &x {y: *x}", "seeds: &x [*x]", "name: '" + "x" * 50_000 + "'", "a: !!python/object/apply:time.sleep [99]"):
        path.write_text(text, encoding="utf-8")
        for read in (load_experiment, read_contest): check(read, path, seen)
    assert seen == dict(read=0, refused=20)
