"""The checks of the exercises are themselves checked: stubs and wrong answers are refused with the right words, right answers pass.

tests/answers/lessonNN.py holds, for each exercise of a lesson, answers written from its text alone:
    ANSWERS = {"name": dict(right={"by unfold": answer}, wrong={"flipped": (answer, "words the message holds")})}
`pytest -s` prints the table of all answers; RESNET_COURSE_CHECKS_TABLE=table.md writes it to a file.
"""
import importlib.util, os, re, sys, time, types
from pathlib import Path

import pytest

from nbtools import NBS, ROOT, read, text
from resnet_course.checks.core import checks_of, lessons_with_exercises

EXERCISES = {p.name[:2]: p for p in sorted((NBS / "exercises").glob("[0-9]*.ipynb"))}
CALL = re.compile(r"^check\.(\w+)\((.*)\)\s*(?:#.*)?$", re.M)
HINT = re.compile(r"^# check\.(\w+)\.hint\(\)", re.M)
STUB = re.compile("not written yet|no answer yet")
RIGHT, WRONG, SECONDS = 1, 3, 10  # other right answers and wrong ones, at least; a check's CPU time, at most (5 are promised)
ROWS = []


@pytest.fixture(scope="module", autouse=True)
def table():
    "Nothing is kept as the learner's progress; at the end the table is printed, and written where it was asked for."
    os.environ["IN_TEST"], before = "1", os.environ.get("IN_TEST")
    yield
    if before is None: del os.environ["IN_TEST"]
    if ROWS: print("\n" + markdown(ROWS))
    if ROWS and (path := os.environ.get("RESNET_COURSE_CHECKS_TABLE")): write_table(path)


def markdown(rows):
    "The rows as a table: what each check said to each answer."
    cell = lambda v: " ".join(str(v).split()).replace("|", "\\|")
    lines = ["| lesson | exercise | answer | should be | was | seconds | what the check said |", "|---|---|---|---|---|---|---|"]
    counts = f"{len(rows)} answers to {len({r[:2] for r in rows})} exercises; {sum(r[3] == r[4] for r in rows)} judged as they should be."
    return "\n".join([*lines, *("| " + " | ".join(map(cell, row)) + " |" for row in rows), "", counts])


def write_table(path):
    "Write the table of all answers tried so far to a markdown file."
    Path(path).write_text("# What the checks say\n\n" + markdown(ROWS) + "\n", encoding="utf-8")


def cells(path, kind):
    "The sources of a notebook's cells of a kind."
    return [text(c["source"]) for c in read(path)["cells"] if c["cell_type"] == kind]


def sections(path):
    "Heading of each exercise -> its text and code, in order."
    whole = "\n\n".join(text(c["source"]) for c in read(path)["cells"])
    parts = re.split(r"^(## \d+\. .*)$", whole, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def answers_of(lesson):
    "The table of answers of a lesson; a missing file is a failure."
    path = ROOT / "tests" / "answers" / f"lesson{lesson}.py"
    if not path.exists(): pytest.fail(f"tests/answers/{path.name} is missing: right and wrong answers, from the text of the exercises alone")
    spec = importlib.util.spec_from_file_location(f"answers_{lesson}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.ANSWERS


def lacking(answers, names):
    "What a table of answers lacks for these exercises, one line each."
    found = [f"{n}: there is no such exercise" for n in answers if n not in names]
    for name in names:
        right, wrong = (answers.get(name, {}).get(k, {}) for k in ("right", "wrong"))
        if len(right) < RIGHT: found.append(f"{name}: {len(right)} right answers besides the solution, {RIGHT} needed")
        if len(wrong) < WRONG: found.append(f"{name}: {len(wrong)} wrong answers, {WRONG} needed")
        found += [f"{name}: {w}: no words are named that the message must hold" for w, (_, words) in wrong.items() if not words.strip()]
    return found


def judge(check, lesson, name, label, answer, words=None):
    "Ask a check, note what it said, and say what is wrong with that: an empty text when all is well."
    start = time.process_time()
    verdict = getattr(check, name)(answer)
    seconds = time.process_time() - start
    ROWS.append((lesson, name, label, "accepted" if words is None else "refused", "accepted" if verdict else "refused", f"{seconds:.1f}", verdict.message))
    if "fault of the course" in verdict.message: return f"{name}: {label}: the check itself failed: {verdict.message}"
    if seconds > SECONDS: return f"{name}: {label}: the check took {seconds:.0f} s"
    if words is None: return "" if verdict else f"{name}: the right answer {label!r} is refused: {verdict.message}"
    if verdict: return f"{name}: the wrong answer {label!r} is accepted"
    return "" if words in verdict.message else f"{name}: the message on {label!r} does not hold {words!r}: {verdict.message}"


def test_every_lesson_of_checks_has_a_notebook_of_exercises():
    assert lessons_with_exercises() == list(EXERCISES)
    assert (NBS / "exercises" / ".notest").exists()  # stubs are not run by nbdev_test


@pytest.mark.parametrize("lesson", EXERCISES)
def test_exercises_solutions_and_checks_agree(lesson):
    path, check = EXERCISES[lesson], checks_of(lesson)
    assert len(list((NBS / "solutions").glob(f"{lesson}_*.ipynb"))) == 1 and (NBS / "lib" / "checks" / path.name).exists()
    solution = NBS / "solutions" / path.name
    code, solved = "\n".join(cells(path, "code")), "\n".join(cells(solution, "code"))
    called = [n for n, _ in CALL.findall(code)]
    assert sorted(called) == sorted(dir(check)) and len(set(called)) == len(called)
    assert HINT.findall(code) == called, "each exercise offers its hints, in a comment"
    assert sorted({n for n, _ in CALL.findall(solved)}) == sorted(called), "each exercise is solved"
    assert re.search(rf'checks_of\("{lesson}", solutions=True\)', solved), "a refused solution must be an error"
    assert list(sections(path)) == list(sections(solution)), "solutions have the headings of the exercises"
    assert not [c for c in read(path)["cells"] if c.get("outputs")], "stubs have no outputs"
    assert f"(../solutions/{path.name})" in "\n".join(cells(path, "markdown"))
    for heading, body in sections(path).items():
        (name,) = {n for n, _ in CALL.findall(body)}
        exercise = getattr(check, name)
        assert body.count("●") == exercise.difficulty and f"{exercise.minutes:g} min" in body, f"{heading}: difficulty or minutes are not those of the check"


@pytest.mark.parametrize("lesson", EXERCISES)
def test_hints_are_three_and_lead_further(lesson):
    for exercise in checks_of(lesson):
        shown = [exercise.hint() for _ in range(3)]
        assert [h.title for h in shown] == ["Hint 1 of 3", "Hint 2 of 3", "Hint 3 of 3"] and len({h.message for h in shown}) == 3


@pytest.mark.parametrize("lesson", EXERCISES)
def test_bare_stubs_are_refused(lesson):
    import matplotlib
    matplotlib.use("Agg")
    names = types.ModuleType(f"exercises_{lesson}").__dict__
    names.update(display=lambda *args, **kwargs: None)
    wrong = []
    for source in cells(EXERCISES[lesson], "code"):
        asked = CALL.findall(source)
        if not asked:
            try: exec(compile(source, f"exercises_{lesson}", "exec"), names)
            except Exception as e:  # a cell that measures what is not written yet may fail, a setting up may not
                if "checks_of(" in source: raise AssertionError(f"the first cells of exercises {lesson} fail: {e}") from e
            continue
        for name, argument in asked:
            verdict = names["check"].__getattr__(name)(eval(argument, names))
            ROWS.append((lesson, name, "the bare stub", "refused", "accepted" if verdict else "refused", "", verdict.message))
            if verdict or not STUB.search(verdict.message): wrong.append(f"{name}: the bare stub hears: {verdict.message}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("lesson", EXERCISES)
def test_answers_are_judged_as_they_should_be(lesson):
    check, answers = checks_of(lesson), answers_of(lesson)
    wrong = lacking(answers, dir(check))
    for name, of in answers.items():
        if name not in dir(check): continue
        wrong += [judge(check, lesson, name, label, answer) for label, answer in of.get("right", {}).items()]
        wrong += [judge(check, lesson, name, label, answer, words) for label, (answer, words) in of.get("wrong", {}).items()]
    assert not [w for w in wrong if w], "\n".join(w for w in wrong if w)


def test_the_map_on_the_index_is_nobodys():
    import map as tool
    assert tool.main(["--check"]) == 0, "python tools/map.py writes it"
    cell = tool.cell_of(read(NBS / "index.ipynb"))
    assert tool.alt_of(cell).startswith(f"0 of {sum(len(checks_of(n)) for n in EXERCISES)} exercises passed") and "#| hide" in text(cell["source"])


def test_a_thin_table_of_answers_is_found():
    full = dict(right={"a": 1}, wrong={k: (2, "word") for k in "abc"})
    assert lacking({"x": full}, ["x"]) == []
    assert len(lacking({}, ["x"])) == 2 and "2 wrong" in lacking({"x": {**full, "wrong": {k: (2, "word") for k in "ab"}}}, ["x"])[0]
    assert "0 right" in lacking({"x": {**full, "right": {}}}, ["x"])[0] and "no such exercise" in lacking({"x": full, "y": full}, ["x"])[0]
    assert "no words" in lacking({"x": {**full, "wrong": {**full["wrong"], "d": (2, " ")}}}, ["x"])[0]
    with pytest.raises(pytest.fail.Exception, match="is missing"): answers_of("00")


def test_wrong_judgements_are_found(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROWS", [])
    from resnet_course.checks.core import answered, exercise, same
    @exercise(minutes=5, difficulty=1, hints=("a", "b", "c"))
    def seven(yours):
        "You know seven."
        same(answered(yours, int), 7 if yours != 9 else 1 // 0, case="the number")
    check = types.SimpleNamespace(seven=seven)
    ask = lambda *args: judge(check, "00", "seven", "an answer", *args)
    assert ask(7) == "" and ask(8, "should be 7") == "" and "is refused" in ask(8) and "is accepted" in ask(7, "x") and "does not hold 'nine'" in ask(8, "nine") and "itself failed" in ask(9, "x")
    assert markdown(ROWS).count("\n| 00 | seven |") == 6 and "6 answers to 1 exercises; 4 judged" in markdown(ROWS)


def test_the_table_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROWS", [("01", "x", "a | b", "refused", "refused", "0.1", "no\nway")])
    write_table(tmp_path / "t.md")
    assert "| 01 | x | a \\| b | refused | refused | 0.1 | no way |" in (tmp_path / "t.md").read_text(encoding="utf-8") and "1 answers to 1 exercises; 1 judged" in (tmp_path / "t.md").read_text(encoding="utf-8")
