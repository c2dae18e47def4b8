"""Hooks on networks of other people: the names, the copies, and nothing left behind, whatever goes wrong."""
import pytest
import timm
import torch
import torchvision
from torch import nn

from resnet_course.features import (
    capture, effective_field, hook_count, layer_facts, plot_activation_histograms, plot_weight_histograms, receptive_field, residual_ratios,
    show_feature_maps, show_first_conv_filters, stage_names, unwrapped,
)
from resnet_course.gradcam import cam_maps, grad_cam
from resnet_course.resnet import create_model

STAGES = ["layer1", "layer2", "layer3", "layer4"]
MODELS = {
    "ours": lambda: create_model("resnet18", num_classes=5),
    "ours, bottlenecks": lambda: create_model("resnet50", num_classes=5),
    "torchvision": lambda: torchvision.models.resnet18(num_classes=5),                      # works in place
    "torchvision, bottlenecks": lambda: torchvision.models.resnet50(num_classes=5),
    "timm": lambda: timm.create_model("resnet18", num_classes=5, zero_init_last=False),
    "timm, bottlenecks": lambda: timm.create_model("resnet50d", num_classes=5, zero_init_last=False),            # a stem of three convolutions, an average before each projection
}


@pytest.fixture(params=MODELS)
def model(request):
    torch.manual_seed(0)
    model = MODELS[request.param]().eval()
    yield model
    assert hook_count(model) == 0


@pytest.fixture
def x(): return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_every_function_takes_every_resnet(model, x):
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert stage_names(model)[1:] == STAGES
    with torch.no_grad(), capture(model, STAGES) as kept: model(x)
    assert [tuple(v.shape[2:]) for v in kept.values()] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert len(show_feature_maps(model, x[:1]).axes) == 5
    show_first_conv_filters(model); plot_weight_histograms(model); plot_activation_histograms(model, x, STAGES)
    assert len(residual_ratios(model, x)) in (8, 16) and all(v > 0 for v in residual_ratios(model, x).values())
    facts = layer_facts(model, x, STAGES, torch.tensor([0, 1]))
    assert all(f.gradient > 0 and f.zeros > 0.1 for f in facts.values())
    assert effective_field(model, x, "layer2").shape == (64, 64)
    maps = cam_maps(model, x, 1, STAGES)
    assert torch.equal(grad_cam(model, x, 1), maps["layer4"])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and all(p.grad is None for p in model.parameters())


def test_the_same_plan_sees_the_same(x):
    fields = [receptive_field(MODELS[k](), "layer2", 256) for k in ("ours", "torchvision", "timm")]
    assert fields == [99] * 3                                                               # 1 + 6 + 2*2 + 4 * 2*4 + 2*4 + 3 * 2*8


def test_what_works_in_place_is_seen_before_it_does(x):
    "torchvision's ReLU overwrites what its BatchNorm answered; ours does not. Same weights, same records"
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(num_classes=5).eval()
    ours = create_model("resnet18", num_classes=5).eval()
    ours.load_state_dict(theirs.state_dict())
    layers = ["bn1", "layer1.0.bn1", "layer2.0.bn2", "layer4.1.bn2"]
    records = []
    for net in (theirs, ours):
        with capture(net, layers, gradients=True) as kept: net(x)[:, 0].sum().backward()
        records.append(kept)
    for name in layers:
        assert torch.allclose(records[0][name], records[1][name], atol=1e-5) and (records[0][name] < 0).any()
        assert torch.allclose(records[0].gradients[name], records[1].gradients[name], atol=1e-6)
        assert torch.allclose(effective_field(theirs, x, name), effective_field(ours, x, name), atol=1e-4)


@pytest.mark.parametrize("ask", [
    lambda net, x: show_feature_maps(net, x, ["layer3"]), lambda net, x: effective_field(net, x, "layer3"), lambda net, x: layer_facts(net, x, ["layer3"], torch.zeros(len(x), dtype=torch.long)),
    lambda net, x: plot_activation_histograms(net, x, ["layer3"]), residual_ratios, grad_cam,
])
def test_bad_input_is_named_and_leaves_no_hook(ask, x):
    net = create_model("resnet18", num_classes=5).eval()
    for bad, message in ((x[:0], "at least one picture"), (x[0], r"\(B, C, H, W\)"), (x * float("nan"), "not finite")):
        with pytest.raises(ValueError, match=message): ask(net, bad)
    with pytest.raises(RuntimeError): ask(net, x[:, :1])                                    # torch's own words: expected 3 channels
    assert hook_count(net) == 0
    for p in net.parameters(): p.requires_grad_(False)
    ask(net, x); ask(nn.DataParallel(net), x); ask(torch.compile(net), x)                   # frozen; wrapped
    with torch.no_grad(): ask(net, x)
    assert hook_count(net) == 0 and not any(p.requires_grad for p in net.parameters())


def test_wrappers_are_taken_off(x):
    net = create_model("resnet18", num_classes=5)
    for wrapped in (net, nn.DataParallel(net), torch.compile(net), torch.compile(nn.DataParallel(net))): assert unwrapped(wrapped) is net
    for wrapped in (torch.compile(net), nn.DataParallel(torch.compile(net))):
        with pytest.raises(ValueError, match="unwrapped"), capture(wrapped, ["layer1"]): pass
    assert hook_count(net) == 0


def test_other_kinds_of_network(x):
    recurrent = nn.Sequential(nn.Flatten(2), nn.LSTM(4096, 4, batch_first=True))
    with pytest.raises(ValueError, match="tuple"), capture(recurrent, ["1"]): recurrent(x)
    assert hook_count(recurrent) == 0
    with pytest.raises(ValueError, match="Name one"): stage_names(recurrent)
    with pytest.raises(ValueError, match="no Conv2d"): show_first_conv_filters(recurrent)
    with pytest.raises(ValueError, match="no residual blocks"): residual_ratios(nn.Conv2d(3, 3, 1), x)
    vit = timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=5).eval()
    with pytest.raises(ValueError, match="no places"): grad_cam(vit, x, layer="blocks.11")
    assert hook_count(vit) == 0

    class Skips(nn.Module):
        def __init__(self): super().__init__(); self.used, self.unused = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        def forward(self, x): return self.used(x).mean((2, 3))
    with pytest.raises(ValueError, match="never called unused"): grad_cam(Skips(), x, layer="unused")
