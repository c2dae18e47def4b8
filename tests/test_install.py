"A wheel from a plain copy of the tree, without git and nbdev, gives a package that imports elsewhere."
import json, re, shutil, subprocess, sys, zipfile

import pytest

IMPORTS = """
import json, sys
sys.path.insert(0, sys.argv[1])
import resnet_course.resnet
heavy = sorted({m.split(".")[0] for m in sys.modules} & {"matplotlib", "IPython", "jupyter", "jupyter_core", "ipykernel", "sklearn", "seaborn", "nbdev", "fastcore"})
print(json.dumps([resnet_course.__file__, resnet_course.__version__, heavy]))
"""


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory):
    "A wheel of a plain copy of the tree."
    tmp = tmp_path_factory.mktemp("install")
    (tmp / "tree").mkdir()
    for name in ("settings.ini", "setup.py", "pyproject.toml", "MANIFEST.in"): shutil.copy(root / name, tmp / "tree")
    shutil.copytree(root / "resnet_course", tmp / "tree" / "resnet_course", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
                    "--wheel-dir", str(tmp / "dist"), str(tmp / "tree")], check=True, cwd=tmp)
    return next((tmp / "dist").glob("*.whl"))


def test_wheel_holds_every_module_and_the_requirements(root, wheel):
    files = zipfile.ZipFile(wheel).namelist()
    assert {f"resnet_course/{p.name}" for p in (root / "resnet_course").glob("*.py")} <= set(files)
    assert not [f for f in files if f.startswith(("tests", "tools", "nbs"))]
    metadata = zipfile.ZipFile(wheel).read(next(f for f in files if f.endswith("METADATA"))).decode()
    needs = set(re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, re.M))
    assert {"torch", "torchvision", "jupyterlab", "nbdev", "matplotlib", "seaborn", "scikit-learn", "ipywidgets"} <= needs
    scripts = zipfile.ZipFile(wheel).read(next(f for f in files if f.endswith("entry_points.txt"))).decode()
    assert "resnet-course = resnet_course.cli:main" in scripts


def test_installed_package_imports_elsewhere_and_stays_light(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    done = subprocess.run([sys.executable, "-c", IMPORTS, str(site)], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    file, version, heavy = json.loads(done.stdout.splitlines()[-1])
    assert file.startswith(str(site)) and version == re.search(r"-([\d.]+)-py3", wheel.name)[1]
    assert heavy == [], f"import resnet_course.resnet loads {heavy}"
