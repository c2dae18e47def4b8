"""One side of benchmarks/compare.py: the course, or a library that a reader would otherwise use, as a process that takes turns.

    python benchmarks/peers.py '{"task": "train", "peer": "lightning", "best": true, "net": "resnet18"}'

reads a line, computes one round, writes a line of JSON, and so on until its input ends. The libraries live in an environment
of their own (compare.py makes it), because fastai and nbdev want different versions of fastcore. Each library trains with its
own loop, loader, optimizer and precision switches; the networks are torchvision's.
"""
import contextlib, functools, itertools, json, os, sys, tempfile, time

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")            # this comparison is about the CPU
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

MEAN, STD, CLASSES = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), 10
NETS = {  # name: (network, side of the pictures, of the stored ones, batch, batches of a round)
    "resnet20": ("resnet20", 32, 32, 128, 4), "resnet18": ("resnet18", 32, 32, 128, 2), "resnet50": ("resnet50", 32, 32, 64, 2),
    "resnet50-224": ("resnet50", 224, 256, 16, 2), "resnet101-224": ("resnet101", 224, 256, 16, 2),
}
SGD = dict(lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True)


def memory():
    "Largest memory of this process so far, in MiB; None where the system does not say."
    try:
        import resource
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    except ImportError: return None


class Turns:
    "Waits for its turn, and says how long it took."
    def __init__(self, answers): self.answers, self.before = answers, None
    def begin(self):
        self.before = memory() if self.before is None else self.before
        if not sys.stdin.readline(): os._exit(0)             # out of the middle of whichever loop is running
        self.start = time.perf_counter()
    def end(self, n=1):
        seconds = time.perf_counter() - self.start
        print(json.dumps(dict(per_second=n / seconds, memory_mib=self.before and memory() - self.before)), file=self.answers, flush=True)


def pictures(n, size):
    "n pictures of noise, and their classes."
    return np.random.default_rng(0).integers(0, 256, (n, size, size, 3), dtype=np.uint8), np.arange(n) % CLASSES


def network(name, size):
    "torchvision's network; with the stem for small pictures where they are small."
    import torchvision
    model = getattr(torchvision.models, name)(num_classes=CLASSES)
    if size == 32: model.conv1, model.maxpool = nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.Identity()
    return model


class Pictures(torch.utils.data.Dataset):
    "An array whose pictures become PIL images one by one, as torchvision's datasets serve them."
    def __init__(self, x, y, transform): self.x, self.y, self.transform = x, y, transform
    def __len__(self): return len(self.x)
    def __getitem__(self, i):
        from PIL import Image
        return self.transform(Image.fromarray(self.x[i])), int(self.y[i])


def to_array(picture):
    "A PIL image as bytes (3, H, W)."
    return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


def dataset(x, y, size, kind, train=True):
    "`kind`: 'float', each picture is made float and normalised; 'bytes', whole batches are, later; 'v2', as 'float', on tensors."
    if kind == "v2":
        from torchvision.transforms import v2 as T
        crop = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()] if size == 32 else [T.RandomResizedCrop(size, antialias=True), T.RandomHorizontalFlip()]
        return Pictures(x, y, T.Compose([T.ToImage(), *(crop if train else []), T.ToDtype(torch.float32, scale=True), T.Normalize(MEAN, STD)]))
    from torchvision import transforms as T
    crop = [T.RandomCrop(32, padding=4), T.RandomHorizontalFlip()] if size == 32 else [T.RandomResizedCrop(size), T.RandomHorizontalFlip()]
    crop = crop if train else [] if size == 32 else [T.CenterCrop(size)]
    return Pictures(x, y, T.Compose([*crop, *([to_array] if kind == "bytes" else [T.ToTensor(), T.Normalize(MEAN, STD)])]))


def loader(data, batch, workers=0, shuffle=True):
    "PyTorch's."
    return torch.utils.data.DataLoader(data, batch, shuffle=shuffle, drop_last=shuffle, num_workers=workers, persistent_workers=workers > 0)


def normalised(x):
    "Bytes (B, 3, H, W) as floats of mean 0 and deviation 1."
    scale = lambda v: torch.tensor(v).view(1, 3, 1, 1) * 255
    return x.float().sub_(scale(MEAN)).div_(scale(STD))


def bf16(on): return torch.autocast("cpu", torch.bfloat16, enabled=on)


# --- the course ---------------------------------------------------------------------------------------------------------------
def course_loaders(n, size, batch):
    "Pictures are stored as large as they are trained on: a crop is resized to the size of its picture."
    from resnet_course.data import ImageStore, LoaderConfig, make_loaders
    x, y = (torch.from_numpy(a) for a in pictures(n, size))
    store = ImageStore(x.permute(0, 3, 1, 2).contiguous(), y, x[:1].permute(0, 3, 1, 2), y[:1], [str(i) for i in range(CLASSES)], "noise")
    how = dict(pad_crop=4) if size == 32 else dict(random_resized_crop=(0.08, 1.0), image_size=size)
    return make_loaders(store, LoaderConfig(batch_size=batch, eval_batch_size=batch, val_fraction=0.0, flip=True, mean=MEAN, std=STD, device="cpu", **how))


def course_train(turns, name, size, stored, batch, steps, best):
    from resnet_course.resnet import create_model
    from resnet_course.training import TrainingConfig, TrainState, fit_steps
    data = course_loaders(batch * steps, size, batch)
    model = create_model(name, num_classes=CLASSES, **(dict(stem="cifar") if size == 32 else {}))
    cfg = TrainingConfig(epochs=10_000, lr=SGD["lr"], momentum=SGD["momentum"], weight_decay=SGD["weight_decay"], nesterov=True)
    training = fit_steps(TrainState(model, cfg, data), data)
    assert data.train.batch(0, 0)[0].shape == (batch, 3, size, size)
    while True:                                               # of `fit`, which runs over these steps: an epoch, and the end of the one before
        turns.begin()
        for _ in range(steps): next(training)
        turns.end(batch * steps)


def course_step(turns, on, name, size, stored, batch, steps):
    "A plain loop with the switches of `on`, which benchmarks/steps.py names; all but the last two are what `fit` does by itself."
    from torch.utils.checkpoint import checkpoint
    from resnet_course.resnet import create_model
    from resnet_course.speed import compiled, keep_memory
    if "kept" in on: keep_memory()
    form = torch.channels_last if "channels_last" in on else torch.contiguous_format
    model = create_model(name, num_classes=CLASSES, **(dict(stem="cifar") if name[6:] in ("18", "34", "50") else {})).train().to(memory_format=form)
    if "checkpointing" in on:
        for block in (b for layer in (model.layer1, model.layer2, model.layer3) for b in layer): block.forward = functools.partial(checkpoint, block.forward, use_reentrant=False)
    if "compile" in on: model = compiled(model)
    batches = course_loaders(batch * steps, size, batch).train if "in memory" in on else loader(dataset(*pictures(batch * steps, stored), size, "float"), batch)
    optimizer = torch.optim.SGD(model.parameters(), **SGD, fused="fused" in on)
    while True:
        turns.begin()
        for x, y in batches:
            optimizer.zero_grad(); x = x.contiguous(memory_format=form)
            with bf16("bf16" in on): logits = model(x)
            F.cross_entropy(logits.float(), y).backward(); optimizer.step()
        turns.end(batch * steps)


def course_load(turns, n, batch, kind, workers):
    data = course_loaders(n, 32, batch)
    while True: turns.begin(); turns.end(sum(len(y) for _, y in data.train))


def course_evaluate(turns, n, batch):
    from resnet_course.resnet import create_model
    from resnet_course.training import evaluate_classification, pick_precision
    from resnet_course.speed import keep_memory
    keep_memory(); data, precision = course_loaders(n, 32, batch), pick_precision(device="cpu")
    model = precision.place(create_model("resnet18", stem="cifar", num_classes=CLASSES))
    while True: turns.begin(); evaluate_classification(model, data.clean(n), precision=precision); turns.end(n)


def course_checkpoint(turns, folder):
    from resnet_course.checkpoint import load_checkpoint, save_checkpoint
    from resnet_course.resnet import create_model
    from resnet_course.training import TrainingConfig, TrainState, fit_steps
    data = course_loaders(4, 32, 2)
    state = TrainState(create_model("resnet50", stem="cifar", num_classes=CLASSES), TrainingConfig(epochs=2), data)
    next(fit_steps(state, data)); path = os.path.join(folder, "checkpoint.pt")
    from pathlib import Path
    while True: turns.begin(); save_checkpoint(state, Path(path)); load_checkpoint(state, Path(path)); turns.end()


def course_first(size):
    return course_loaders(512, size, 128).train.batch(0, 0)[0]


# --- a loop as torchvision's references have it ---------------------------------------------------------------------------------
def plain_train(turns, name, size, stored, batch, steps, best):
    x, y = pictures(batch * steps, stored); model = network(name, size).train()
    if best: model = model.to(memory_format=torch.channels_last)
    batches = loader(dataset(x, y, size, "bytes" if best else "float"), batch, 0 if best else 2)
    optimizer = torch.optim.SGD(model.parameters(), **SGD, **(dict(fused=True) if best else {}))
    while True:
        turns.begin(); right = seen = 0; total = 0.0
        for a, b in batches:
            if best: a = normalised(a).contiguous(memory_format=torch.channels_last)
            with bf16(best): logits = model(a); loss = F.cross_entropy(logits, b)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            total += loss.item() * len(b); right += (logits.argmax(1) == b).sum().item(); seen += len(b)
        turns.end(seen)


def plain_load(turns, n, batch, kind, workers):
    batches = loader(dataset(*pictures(n, 32), 32, kind), batch, workers)
    while True: turns.begin(); turns.end(sum(len(normalised(a) if kind == "bytes" else a) for a, _ in batches))


def plain_evaluate(turns, n, batch):
    model = network("resnet18", 32).eval().to(memory_format=torch.channels_last)
    batches = loader(dataset(*pictures(n, 32), 32, "bytes", train=False), batch, 0, shuffle=False)
    while True:
        turns.begin(); right = 0; total = 0.0
        with torch.inference_mode():
            for a, b in batches:
                with bf16(True): logits = model(normalised(a).contiguous(memory_format=torch.channels_last)).float()
                total += F.cross_entropy(logits, b).item() * len(b); right += (logits.argmax(1) == b).sum().item()
        turns.end(n)


def plain_checkpoint(turns, folder):
    model = network("resnet50", 32); optimizer = torch.optim.SGD(model.parameters(), **SGD); path = os.path.join(folder, "c.pt")
    model(torch.randn(2, 3, 32, 32)).sum().backward(); optimizer.step()
    while True:
        turns.begin(); torch.save(dict(model=model.state_dict(), optimizer=optimizer.state_dict()), path)
        c = torch.load(path, map_location="cpu", weights_only=True); model.load_state_dict(c["model"]); optimizer.load_state_dict(c["optimizer"]); turns.end()


def plain_first(size):
    for a, _ in loader(dataset(*pictures(512, size), size, "float"), 128, 0): return a


# --- timm: its loader, optimizer factory, schedule, meters, and the loop of its training script -----------------------------------
def timm_loader(x, y, size, batch, best, workers, train=True):
    from timm.data import create_loader
    data = dataset(x, y, size, "bytes", train); crop = data.transform
    out = create_loader(data, (3, size, size), batch, is_training=train, mean=MEAN, std=STD, num_workers=workers, device=torch.device("cpu"),
                        persistent_workers=workers > 0, pin_memory=False)
    data.transform = crop                                     # the same augmentation as the others in place of its own
    return out


def timm_train(turns, name, size, stored, batch, steps, best):
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2
    from timm.utils import AverageMeter
    batches = timm_loader(*pictures(batch * steps, stored), size, batch, best, 1 if best else 4)
    model = network(name, size); model = model.to(memory_format=torch.channels_last) if best else model
    optimizer = create_optimizer_v2(model, opt="sgd", lr=SGD["lr"], momentum=0.9, weight_decay=5e-4, **(dict(fused=True) if best else {}))
    schedule, _ = create_scheduler_v2(optimizer, num_epochs=300, updates_per_epoch=steps)
    loss_fn, updates, epoch = nn.CrossEntropyLoss(), 0, 0
    while True:
        turns.begin(); meter, seen, clock, start = AverageMeter(), 0, AverageMeter(), time.time(); model.train()
        for a, b in batches:
            if best: a = a.contiguous(memory_format=torch.channels_last)
            with bf16(best): loss = loss_fn(model(a), b)
            meter.update(loss.item(), len(b)); optimizer.zero_grad(); loss.backward(); optimizer.step()
            updates += 1; seen += len(b); clock.update(time.time() - start); schedule.step_update(num_updates=updates, metric=meter.avg); start = time.time()
        epoch += 1; schedule.step(epoch); turns.end(seen)


def timm_load(turns, n, batch, kind, workers):
    batches = timm_loader(*pictures(n, 32), 32, batch, True, workers)
    while True: turns.begin(); turns.end(sum(len(b) for _, b in batches))


def timm_evaluate(turns, n, batch):
    from timm.utils import AverageMeter, accuracy
    batches = timm_loader(*pictures(n, 32), 32, batch, True, 1, train=False)
    model, loss_fn = network("resnet18", 32).eval().to(memory_format=torch.channels_last), nn.CrossEntropyLoss()
    while True:
        turns.begin(); losses, top1, top5 = AverageMeter(), AverageMeter(), AverageMeter()
        with torch.no_grad():
            for a, b in batches:
                with bf16(True): out = model(a.contiguous(memory_format=torch.channels_last))
                loss = loss_fn(out, b); one, five = accuracy(out, b, topk=(1, 5))
                losses.update(loss.item(), len(b)); top1.update(one.item(), len(b)); top5.update(five.item(), len(b))
        turns.end(n)


def timm_checkpoint(turns, folder):
    from timm.models import load_checkpoint
    from timm.utils import CheckpointSaver
    model = network("resnet50", 32); optimizer = torch.optim.SGD(model.parameters(), **SGD)
    model(torch.randn(2, 3, 32, 32)).sum().backward(); optimizer.step()
    saver = CheckpointSaver(model, optimizer, checkpoint_dir=folder, recovery_dir=folder, max_history=1)
    for epoch in itertools.count():
        turns.begin(); saver.save_checkpoint(epoch, metric=float(epoch)); path = os.path.join(folder, "last.pth.tar")
        load_checkpoint(model, path); optimizer.load_state_dict(torch.load(path, map_location="cpu", weights_only=False)["optimizer"]); turns.end()


def timm_first(size):
    import timm  # noqa: F401                                 # its training script imports all of it
    for a, _ in timm_loader(*pictures(512, size), size, 128, True, 1): return a


# --- Lightning --------------------------------------------------------------------------------------------------------------------
def lightning_parts(name, size, best):
    import lightning as L
    class Lit(L.LightningModule):
        def __init__(self):
            super().__init__(); self.model = network(name, size)
            if best: self.model = self.model.to(memory_format=torch.channels_last)
        def on_after_batch_transfer(self, batch, i):
            x, y = batch
            return (normalised(x).contiguous(memory_format=torch.channels_last), y) if best else (x, y)
        def training_step(self, batch, i):
            logits = self.model(batch[0]); loss = F.cross_entropy(logits, batch[1])
            self.log("train_loss", loss, prog_bar=not best); self.log("train_accuracy", (logits.argmax(1) == batch[1]).float().mean(), prog_bar=not best)
            return loss
        def validation_step(self, batch, i):
            logits = self.model(batch[0])
            self.log("val_loss", F.cross_entropy(logits, batch[1])); self.log("val_accuracy", (logits.argmax(1) == batch[1]).float().mean())
        def configure_optimizers(self): return torch.optim.SGD(self.parameters(), **SGD, **(dict(fused=True) if best else {}))
    return L, Lit()


def lightning_trainer(L, folder, best, **options):
    quick = dict(precision="bf16-mixed", logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False) if best else {}
    return L.Trainer(accelerator="cpu", devices=1, default_root_dir=folder, max_epochs=-1, **quick, **options)


def lightning_train(turns, name, size, stored, batch, steps, best):
    L, module = lightning_parts(name, size, best)
    class Turn(L.Callback):
        def on_train_epoch_start(self, *_): turns.begin()
        def on_train_epoch_end(self, *_): turns.end(batch * steps)
    data = dataset(*pictures(batch * steps, stored), size, "bytes" if best else "float")
    with tempfile.TemporaryDirectory() as folder:
        lightning_trainer(L, folder, best, callbacks=[Turn()]).fit(module, loader(data, batch, 0))


def lightning_evaluate(turns, n, batch):
    L, module = lightning_parts("resnet18", 32, True)
    batches = loader(dataset(*pictures(n, 32), 32, "bytes", train=False), batch, 0, shuffle=False)
    trainer = lightning_trainer(L, tempfile.gettempdir(), True)
    while True: turns.begin(); trainer.validate(module, batches, verbose=False); turns.end(n)


def lightning_checkpoint(turns, folder):
    L, module = lightning_parts("resnet50", 32, False)
    trainer = L.Trainer(accelerator="cpu", devices=1, default_root_dir=folder, max_steps=1, logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.fit(module, loader(dataset(*pictures(2, 32), 32, "float"), 2)); path = os.path.join(folder, "c.ckpt")
    while True:
        turns.begin(); trainer.save_checkpoint(path); c = torch.load(path, map_location="cpu", weights_only=True)
        module.load_state_dict(c["state_dict"]); trainer.optimizers[0].load_state_dict(c["optimizer_states"][0]); turns.end()


def lightning_first(size):
    import lightning  # noqa: F401
    return plain_first(size)


# --- fastai -----------------------------------------------------------------------------------------------------------------------
class InAutocast(nn.Module):
    "fastai's to_bf16 asks for CUDA's autocast alone, so that on a CPU the network has to bring its own."
    def __init__(self, model): super().__init__(); self.model = model
    def forward(self, x):
        with bf16(True): return self.model(x).float()


def fastai_learner(name, size, stored, batch, n, best, workers, train=True, folder=None):
    from fastai.vision.all import CrossEntropyLossFlat, DataLoaders, IntToFloatTensor, Learner, Normalize, OptimWrapper, SGD as TheirSGD, TensorCategory, TensorImage, accuracy
    from functools import partial
    data = dataset(*pictures(n, stored), size, "bytes", train)
    class Items(torch.utils.data.Dataset):
        def __len__(self): return n
        def __getitem__(self, i): x, y = data[i]; return TensorImage(torch.from_numpy(x)), TensorCategory(y)
    loaders = DataLoaders.from_dsets(Items(), Items(), bs=batch, shuffle=train, num_workers=workers, device=torch.device("cpu"),
                                     after_batch=[IntToFloatTensor(), Normalize.from_stats(MEAN, STD, cuda=False)])
    model = network(name, size)
    if best:
        model = InAutocast(model.to(memory_format=torch.channels_last))
        opt = partial(OptimWrapper, opt=partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=5e-4, fused=True))
    else: opt = partial(TheirSGD, mom=0.9, wd=5e-4)
    learner = Learner(loaders, model, lr=SGD["lr"], loss_func=CrossEntropyLossFlat(), opt_func=opt, metrics=accuracy, path=folder or tempfile.gettempdir())
    return learner


def fastai_train(turns, name, size, stored, batch, steps, best):
    from fastai.callback.channelslast import ChannelsLast
    from fastai.vision.all import Callback
    learner = fastai_learner(name, size, stored, batch, batch * steps, best, 0 if best else 2)
    class Turn(Callback):
        order = -100
        def before_train(self): turns.begin()
        def after_train(self): turns.end(batch * steps)
        def before_validate(self):
            from fastai.vision.all import CancelValidException
            raise CancelValidException()
    more = [Turn(), ChannelsLast()] if best else [Turn()]
    with learner.no_bar() if best else contextlib.nullcontext(): learner.fit(10_000, cbs=more)


def fastai_load(turns, n, batch, kind, workers):
    learner = fastai_learner("resnet18", 32, 32, batch, n, True, workers)
    while True: turns.begin(); turns.end(sum(len(b) for _, b in learner.dls.train))


def fastai_evaluate(turns, n, batch):
    learner = fastai_learner("resnet18", 32, 32, batch, n, True, 0, train=False)
    def round():
        with learner.no_bar(), contextlib.redirect_stdout(sys.stderr): learner.validate()
    while True: turns.begin(); round(); turns.end(n)


def fastai_checkpoint(turns, folder):
    learner = fastai_learner("resnet50", 32, 32, 2, 4, False, 0, folder=folder); learner.create_opt()
    learner.model(torch.randn(2, 3, 32, 32)).sum().backward(); learner.opt.step()
    while True: turns.begin(); learner.save("c"); learner.load("c"); turns.end()


def fastai_first(size):
    return next(iter(fastai_learner("resnet18", 32, size, 128, 512, False, 0).dls.train))


def main(spec):
    "Take turns until standard input ends, or compute a first batch and end."
    answers, sys.stdout = sys.stdout, sys.stderr
    torch.manual_seed(0); task, find = spec["task"], lambda name: globals()[f"{spec['peer']}_{name}"]
    turns = Turns(answers)
    if task == "train": find("train")(turns, *NETS[spec["net"]], spec["best"])
    elif task == "step": course_step(turns, spec["on"], *NETS[spec["net"]])
    elif task == "load": find("load")(turns, 5_120, 128, spec["kind"], spec["workers"])
    elif task == "evaluate": find("evaluate")(turns, 1_000, 250)
    elif task == "checkpoint":
        with tempfile.TemporaryDirectory() as folder: find("checkpoint")(turns, folder)
    elif task == "start": assert len(find("first")(32)) >= 1


if __name__ == "__main__": main(json.loads(sys.argv[1]))
