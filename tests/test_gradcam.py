"""Our maps equal those of two libraries that many people check: grad-cam for the maps of a layer, Captum for the pixels."""
import captum.attr
import numpy as np
import pytest
import torch
import torchvision
from pytorch_grad_cam import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.utils.image import scale_cam_image
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

from resnet_course.data import LoaderConfig, create_embedded_loaders
from resnet_course.features import hook_count
from resnet_course.gradcam import METHODS, cam_maps, grad_cam, input_gradient, integrated_gradients, occlusion
from resnet_course.predict import stored_model

THEIRS = {"gradcam": GradCAM, "gradcam++": GradCAMPlusPlus, "hirescam": HiResCAM, "layercam": LayerCAM}


def pictures(size, binary=False):
    "A few drawn pictures, normalised: four of ten shapes, or of two animals"
    data = create_embedded_loaders(LoaderConfig(image_size=size, batch_size=4, limit=64, eval_limit=40, target="binary" if binary else None))
    return data.test.batch(0, 0)[0][:4]


def briefly_trained():
    "torchvision's own ResNet-18, with in-place ReLUs, after some steps on drawn shapes"
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=10).train()
    data = create_embedded_loaders(LoaderConfig(image_size=64, batch_size=32, limit=192, eval_limit=40))
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    for x, y in data.train.batches(0):
        optimizer.zero_grad(); F.cross_entropy(model(x), y).backward(); optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def networks():
    compact, cifar = (stored_model(name)[0].eval() for name in ("pets_compact", "resnet20_cifar10"))
    return {"pets_compact": (compact, pictures(128, True), ("layer4", "layer3", "layer2.0.conv2")), "resnet20": (cifar, pictures(32), ("layer3", "layer2", "layer1.0.bn2")),
            "torchvision": (briefly_trained(), pictures(64), ("layer4", "layer3", "layer2.1.conv2"))}     # not bn2: what follows it adds in place, into the map that the library remembers


def normalised(maps): return scale_cam_image(np.maximum(maps, 0))


def test_maps_of_layers_equal_the_grad_cam_library(networks):
    counted = 0
    for name, (model, x, layers) in networks.items():
        for method, kind in THEIRS.items():
            for layer in layers:
                if method == "gradcam++" and "." in layer: continue      # its divisor crosses zero where maps are negative, and rounding decides
                for target in (0, 1):
                    ours = cam_maps(model, x, target, [layer], method)[layer]
                    with kind(model, [model.get_submodule(layer)]) as cam:
                        targets = [ClassifierOutputTarget(target)] * len(x); cam(x, targets)
                        a, g = (v[0].numpy() for v in (cam.activations_and_grads.activations, cam.activations_and_grads.gradients))
                        theirs = cam.get_cam_image(x, model.get_submodule(layer), targets, a, g, False)
                    for mine, other in zip(ours.numpy(), theirs):
                        if np.maximum(other, 0).max() <= 1e-5: continue
                        counted += 1
                        assert np.abs(normalised(mine[None]) - normalised(other[None])).max() < 2e-5, f"{name}, {method}, {layer}, class {target}"
        assert hook_count(model) == 0
    print(f"{counted} maps compared"); assert counted >= 40


def close(ours, theirs, most=1e-4):
    "Apart by so little of the whole; single pixels may turn where a ReLU is at zero and batches of another size round otherwise"
    assert float((ours - theirs).norm() / theirs.norm()) < most


def test_pixels_equal_captum(networks):
    for name, (model, x, _) in networks.items():
        x = x[:2]
        for target in (0, 1):
            close(input_gradient(model, x, target), captum.attr.Saliency(model).attribute(x.clone(), target, abs=False))
            modules = [m for m in model.modules() if isinstance(m, nn.ReLU)]; flags = [m.inplace for m in modules]
            if name != "torchvision":          # Captum cannot take one ReLU that serves twice
                close(input_gradient(model, x, target, guided=True), captum.attr.GuidedBackprop(model).attribute(x.clone(), target))
            assert [m.inplace for m in modules] == flags
            theirs = captum.attr.IntegratedGradients(model).attribute(x, torch.zeros_like(x), target, n_steps=20)
            close(integrated_gradients(model, x, target, steps=20), theirs.float(), 2e-3)
            window = x.shape[2] // 2
            close(occlusion(model, x, target, window, window // 2), captum.attr.Occlusion(model).attribute(x, (3, window, window), (3, window // 2, window // 2), target=target))
        assert hook_count(model) == 0


def test_wrappers_and_precision(networks):
    model, x, _ = networks["resnet20"]
    plain = grad_cam(model, x, 0)
    assert torch.equal(grad_cam(nn.DataParallel(model), x, 0), plain)
    assert torch.equal(grad_cam(torch.compile(model), x, 0), plain)
    with torch.autocast("cpu", torch.bfloat16): half = grad_cam(model, x, 0)
    assert half.dtype == torch.float32 and float((half - plain).abs().max()) < 0.1 * float(plain.max())
    for p in model.parameters(): p.requires_grad_(False)
    assert torch.equal(grad_cam(model, x, 0), plain) and not any(p.requires_grad for p in model.parameters())
    for p in model.parameters(): p.requires_grad_(True)
    with torch.no_grad(): assert torch.equal(grad_cam(model, x, 0), plain)
    smooth = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    assert grad_cam(smooth, x, 0, "1").shape == (4, 30, 30)
    with pytest.raises(ValueError, match="no nn.ReLU"): input_gradient(smooth, x, 0, guided=True)
    with pytest.raises(ValueError, match="which layer"): grad_cam(smooth, x)


def test_distributed_wrapper(networks, tmp_path):
    "One process is enough to be wrapped"
    model, x, _ = networks["resnet20"]
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert torch.equal(grad_cam(wrapped, x, 0), grad_cam(model, x, 0))
    finally: torch.distributed.destroy_process_group()
    assert hook_count(model) == 0


def test_methods_are_those_compared(): assert set(METHODS) == set(THEIRS)
