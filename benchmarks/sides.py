"""The sides that are compared, each in a process of its own.

    python benchmarks/sides.py NAME

reads a line, does one round, writes a line of JSON; and so on until its input ends. While it waits it computes nothing, so
that two sides can take turns on one machine.
"""
import json, sys, time

import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from resnet_course import training
from resnet_course.core import generator
from resnet_course.data import ImageStore, LoaderConfig, make_loaders
from resnet_course.gradcam import cam_maps
from resnet_course.landscape import loss_surface, random_direction
from resnet_course.resnet import create_model
from resnet_course.speed import keep_memory
from resnet_course.training import TrainingConfig, fit, pick_precision

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
NETS = {"resnet18": dict(stem="cifar", num_classes=10), "resnet20": {}, "resnet50": dict(stem="cifar", num_classes=10)}


def store(n):
    "n pictures of noise, as large as CIFAR-10's: what is in a picture does not change the time that it takes."
    draw = lambda k, m: (torch.randint(0, 256, (m, 3, 32, 32), dtype=torch.uint8, generator=generator(k)), torch.arange(m) % 10)
    (x, y), (test_x, test_y) = draw(0, n), draw(1, 10)
    return ImageStore(x, y, test_x, test_y, [str(i) for i in range(10)], "noise")


def loaders(n, batch_size):
    "The course's loaders, with the augmentation of CIFAR-10."
    return make_loaders(store(n), LoaderConfig(batch_size=batch_size, val_fraction=0.0, pad_crop=4, flip=True, mean=MEAN, std=STD))


class Pictures(Dataset):
    "The same pictures as torchvision's CIFAR10 class serves them: an array, turned into a PIL image one by one."
    def __init__(self, n, transform):
        self.x, self.y, self.transform = store(n).train_images.permute(0, 2, 3, 1).contiguous().numpy(), torch.arange(n) % 10, transform

    def __len__(self): return len(self.x)

    def __getitem__(self, i):
        from PIL import Image
        return self.transform(Image.fromarray(self.x[i])), int(self.y[i])


def torchvision_loader(n, batch_size, workers):
    "torchvision's transforms in a DataLoader, as its references and most tutorials have them."
    from torchvision import transforms as T
    steps = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)]
    return DataLoader(Pictures(n, T.Compose(steps)), batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)


def batches(n=12_800):
    "In-memory batches, augmented whole."
    train = loaders(n, 128).train
    def round(): return sum(len(y) for _, y in train)
    return round


def torchvision(workers, n=12_800):
    "Picture by picture."
    loader = torchvision_loader(n, 128, workers)
    def round(): return sum(len(y) for _, y in loader)
    return round


def fitting(net, n, batch_size, compile=False, keep=True):
    "An epoch of `fit`: order, augmentation, metrics, schedule, history."
    if not keep: training.keep_memory = lambda: False
    data, model = loaders(n, batch_size), create_model(net, **NETS[net])
    cfg = TrainingConfig(epochs=1, lr=0.01, compile=compile)
    def round(): fit(model, data, cfg, progress=False); return len(data.train) * batch_size
    return round


def bare(net, n, batch_size):
    "Forward, backward, step on one batch over and over, with the precision, memory format and kept memory of `fit`; nothing else."
    keep_memory()
    precision = pick_precision()
    model = precision.place(create_model(net, **NETS[net])).train()
    x, y = loaders(n, batch_size).train.batch(0, 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    def round():
        for _ in range(n // batch_size):
            optimizer.zero_grad(set_to_none=True)
            with precision.autocast(): logits = model(x)
            F.cross_entropy(logits.float(), y).backward(); optimizer.step()
        return n // batch_size * batch_size
    return round


def plain(net, n, batch_size):
    "A loop as in torchvision's references: DataLoader with two workers, fp32, contiguous, loss and accuracy read in every step."
    device, loader = pick_precision().device, torchvision_loader(n, batch_size, 2)
    model = create_model(net, **NETS[net]).to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True, weight_decay=5e-4)
    def round():
        right = seen = 0; loss_sum = 0.0
        for x, y in loader:
            x, y = x.to(device), y.to(device)
            logits = model(x); loss = F.cross_entropy(logits, y)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            loss_sum += loss.item() * len(y); right += (logits.argmax(1) == y).sum().item(); seen += len(y)
        return seen
    return round


def explaining(layers, n=8):
    "Grad-CAM of a ResNet-50 at 224 px, all layers by one pass."
    keep_memory(); model, x = create_model("resnet50").eval(), torch.randn(n, 3, 224, 224, generator=generator(0))
    def round(): cam_maps(model, x, 0, layers); return n
    return round


def explaining_library(layers, n=8):
    "The same by the grad-cam library, which merges layers into one map, so that a map of each takes a pass of each."
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    keep_memory(); model, x = create_model("resnet50").eval(), torch.randn(n, 3, 224, 224, generator=generator(0))
    def round():
        for name in layers:
            with GradCAM(model, [model.get_submodule(name)]) as cam: cam(x, [ClassifierOutputTarget(0)] * n)
        return n
    return round


def surface(points=3, n=1000):
    "A few points of the loss surface of a ResNet-20."
    keep_memory(); model = create_model("resnet20").eval()
    x, y = (torch.cat(parts) for parts in zip(*[loaders(n, 250).train.batch(0, i) for i in range(n // 250)]))
    directions, steps = [random_direction(model, s) for s in (0, 1)], [0.5 * i for i in range(points)]
    def round(): loss_surface(model, x, y, directions, steps); return points ** 2 * n
    return round


def surface_plain(points=3, n=1000):
    "The same points as one would write it: new weights loaded for each, fp32, contiguous, batches of 128."
    model = create_model("resnet20").eval()
    x, y = (torch.cat(parts) for parts in zip(*[loaders(n, 250).train.batch(0, i) for i in range(n // 250)]))
    directions, start = [random_direction(model, s) for s in (0, 1)], {k: v.clone() for k, v in model.state_dict().items()}
    def round():
        for a in range(points):
            for b in range(points):
                moved = {k: v + 0.5 * a * directions[0][k] + 0.5 * b * directions[1][k] if k in directions[0] else v for k, v in start.items()}
                model.load_state_dict(moved); total = 0.0
                with torch.no_grad():
                    for bx, by in zip(x.split(128), y.split(128)): total += F.cross_entropy(model(bx), by, reduction="sum").item()
        return points ** 2 * n
    return round


STAGES = ["layer1", "layer2", "layer3", "layer4"]
SIDES = {
    "batches": batches, "torchvision-0": lambda: torchvision(0), "torchvision-2": lambda: torchvision(2),
    "fit-resnet20": lambda: fitting("resnet20", 2560, 128), "bare-resnet20": lambda: bare("resnet20", 2560, 128),
    "fit-resnet18": lambda: fitting("resnet18", 640, 64), "bare-resnet18": lambda: bare("resnet18", 640, 64),
    "plain-resnet20": lambda: plain("resnet20", 2560, 128), "fit-compiled-resnet20": lambda: fitting("resnet20", 2560, 128, compile=True),
    "fit-returning-resnet20": lambda: fitting("resnet20", 2560, 128, keep=False),
    "fit-resnet50": lambda: fitting("resnet50", 160, 32), "plain-resnet50": lambda: plain("resnet50", 160, 32),
    "surface": surface, "surface-plain": surface_plain,
    "gradcam": lambda: explaining(STAGES[-1:]), "gradcam-library": lambda: explaining_library(STAGES[-1:]),
    "gradcam-stages": lambda: explaining(STAGES), "gradcam-stages-library": lambda: explaining_library(STAGES),
}


def memory():
    "Largest memory of this process so far, in MiB; None where the system does not say."
    if torch.cuda.is_available(): return torch.cuda.max_memory_allocated() / 2**20
    try:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    except ImportError: return None


def main(name):
    "Serve rounds until standard input ends."
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.manual_seed(0)
    round, before = SIDES[name](), memory()             # before: with the pictures, without any computation
    for _ in sys.stdin:
        start = time.perf_counter()
        n = round()
        if torch.cuda.is_available(): torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        print(json.dumps(dict(images_per_second=n / seconds, memory_mib=memory() and memory() - before)), file=answers, flush=True)


if __name__ == "__main__": main(sys.argv[1])
