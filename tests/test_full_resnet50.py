"""Lesson 16 imports nothing of the package, and yet is the same network, the same heat map."""
import ast, json
from pathlib import Path

import torch

from resnet_course.gradcam import grad_cam
from resnet_course.resnet import create_model

NOTEBOOK = Path(__file__).resolve().parent.parent / "nbs" / "16_full_resnet50.ipynb"


def sources(): return ["".join(c["source"]) for c in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if c["cell_type"] == "code" and "google.colab" not in "".join(c["source"])]


def definitions():
    "The notebook's imports, classes and functions, without what it runs"
    wanted = [n for text in sources() for n in ast.parse(text).body if isinstance(n, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef))]
    names = {}; exec(compile(ast.Module(wanted, []), str(NOTEBOOK), "exec"), names)
    return names


def test_same_logits_and_same_heat_map():
    torch.manual_seed(0)
    theirs, package = definitions()["ResNet50"](10, 16), create_model("resnet50", num_classes=10, stem="cifar", widths=(16, 32, 64, 128))
    for m in theirs.modules():
        if isinstance(m, torch.nn.BatchNorm2d): m.running_mean.normal_(); m.running_var.uniform_(0.5, 2); m.weight.data.uniform_(0.5, 1.5); m.bias.data.normal_()
    package.load_state_dict(theirs.state_dict()); x = torch.randn(4, 3, 32, 32)
    for mode in (False, True): assert torch.allclose(theirs.train(mode)(x), package.train(mode)(x), rtol=1e-4, atol=1e-4)
    theirs.eval(), package.eval()
    for target in (0, 7): torch.testing.assert_close(definitions()["grad_cam"](theirs, x, target), grad_cam(package, x, target), rtol=1e-4, atol=1e-6)


def test_it_stands_alone_and_is_short():
    code = "\n".join(sources())
    assert "resnet_course" not in code
    assert sum(1 for line in code.splitlines() if line.strip()) <= 350
