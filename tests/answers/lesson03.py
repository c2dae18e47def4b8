"Answers to the exercises of lesson 03, written from their text alone."
import numpy as np
import torch

# 1. mean_and_std
def by_torch(images):
    x = images.float() / 255
    return x.mean((0, 2, 3)), x.std((0, 2, 3))


def by_numpy(images):
    x = images.numpy().astype(np.float64).transpose(1, 0, 2, 3).reshape(3, -1) / 255
    return tuple(x.mean(1).tolist()), tuple(x.std(1).tolist())


def by_counts(images):
    means, stds = [], []
    for c in range(3):
        counts = torch.bincount(images[:, c].flatten().long(), minlength=256).double()
        values = torch.arange(256) / 255
        mean = (counts * values).sum() / counts.sum()
        means.append(mean.item())
        stds.append(((counts * (values - mean) ** 2).sum() / counts.sum()).sqrt().item())
    return means, stds


def per_picture(images):
    x = images.float() / 255
    return x.mean((0, 2, 3)), x.std((2, 3)).mean(0)


def per_place(images):
    x = images.float() / 255
    return x.mean((0, 2, 3)), x.std(0, unbiased=False).mean((1, 2))


def not_scaled(images): return images.float().mean((0, 2, 3)), images.float().std((0, 2, 3))
def by_256(images): return by_torch(images * 1)[0] * 255 / 256, by_torch(images)[1] * 255 / 256
def one_for_all(images): return (images.float() / 255).mean(), (images.float() / 255).std()
def variance(images): return (images.float() / 255).mean((0, 2, 3)), (images.float() / 255).var((0, 2, 3))
def of_cifar(images): return (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
def of_means(images): return (images.float() / 255).mean((0, 2, 3)), (images.float() / 255).mean((2, 3)).std(0, unbiased=False)
def last_channel(images): return (images.float() / 255).mean((0, 1, 2)), (images.float() / 255).std((0, 1, 2))
def std_alone(images): return by_torch(images)[1]
def turned(images): return by_torch(images)[::-1]
def around_all(images): return by_torch(images)[0], ((images.float() / 255 - (images.float() / 255).mean()) ** 2).mean((0, 2, 3)).sqrt()
def bytes_overflow(images): return (images / 255).mean((0, 2, 3)), ((images * images).float().mean((0, 2, 3)) / 255**2 - (images / 255).mean((0, 2, 3)) ** 2).abs().sqrt()


# 2. split
def by_class(labels, fraction, seed):
    g, train, val = torch.Generator().manual_seed(seed), [], []
    for c in labels.unique():
        i = (labels == c).nonzero().flatten()
        i = i[torch.randperm(len(i), generator=g)]
        n = round(fraction * len(i))
        val.append(i[:n]); train.append(i[n:])
    return torch.cat(train), torch.cat(val)


def with_numpy(labels, fraction, seed):
    rng, val = np.random.default_rng(seed), []
    for c in range(int(labels.max()) + 1):
        members = np.flatnonzero(labels.numpy() == c)
        val.extend(rng.choice(members, size=int(fraction * len(members)), replace=False))
    train = np.setdiff1d(np.arange(len(labels)), val)
    return torch.as_tensor(train, dtype=torch.int64), torch.as_tensor(np.sort(val), dtype=torch.int64)


def by_random_ranks(labels, fraction, seed):
    keys, in_val = torch.rand(len(labels), generator=torch.Generator().manual_seed(seed)), torch.zeros(len(labels), dtype=torch.bool)
    for c in labels.unique():
        mine = torch.where(labels == c)[0]
        in_val[mine[keys[mine].argsort()[: int(np.ceil(fraction * len(mine)))]]] = True
    return torch.where(~in_val)[0], torch.where(in_val)[0]


def by_sklearn(labels, fraction, seed):
    from sklearn.model_selection import StratifiedShuffleSplit
    train, val = next(StratifiedShuffleSplit(1, test_size=fraction, random_state=seed).split(np.zeros(len(labels)), labels.numpy()))
    return torch.from_numpy(train), torch.from_numpy(val)


def not_stratified(labels, fraction, seed):
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    n = round(fraction * len(labels))
    return order[n:], order[:n]


def in_order(last):
    def split(labels, fraction, seed):
        train, val = [], []
        for c in labels.unique():
            i = (labels == c).nonzero().flatten()
            n = round(fraction * len(i))
            val.append(i[len(i) - n:] if last else i[:n]); train.append(i[:len(i) - n] if last else i[n:])
        return torch.cat(train), torch.cat(val)
    return split


def global_seed(labels, fraction, seed):
    torch.manual_seed(seed)
    train, val = [], []
    for c in labels.unique():
        i = (labels == c).nonzero().flatten()
        i, n = i[torch.randperm(len(i))], round(fraction * len(i))
        val.append(i[:n]); train.append(i[n:])
    return torch.cat(train), torch.cat(val)


def no_seed(labels, fraction, seed):
    train, val = [], []
    for c in labels.unique():
        i = (labels == c).nonzero().flatten()
        i, n = i[torch.randperm(len(i))], round(fraction * len(i))
        val.append(i[:n]); train.append(i[n:])
    return torch.cat(train), torch.cat(val)


def always_42(labels, fraction, seed): return by_class(labels, fraction, 42)
def turned_round(labels, fraction, seed): return by_class(labels, fraction, seed)[::-1]
def of_training(labels, fraction, seed): return by_class(labels, 1 - fraction, seed)
def lists(labels, fraction, seed): return tuple(t.tolist() for t in by_class(labels, fraction, seed))
def the_labels(labels, fraction, seed): return tuple(labels[t] for t in by_class(labels, fraction, seed))
def truncated(labels, fraction, seed): return tuple(t[:-1] for t in by_class(labels, fraction, seed))
def overlapping(labels, fraction, seed): return torch.arange(len(labels)), by_class(labels, fraction, seed)[1]


def with_replacement(labels, fraction, seed):
    g, val = torch.Generator().manual_seed(seed), []
    for c in labels.unique():
        i = (labels == c).nonzero().flatten()
        val.append(i[torch.randint(len(i), (round(fraction * len(i)),), generator=g)])
    val = torch.cat(val)
    return torch.tensor([i for i in range(len(labels)) if i not in set(val.tolist())]), val


def masks(labels, fraction, seed):
    val = torch.zeros(len(labels), dtype=torch.bool)
    val[by_class(labels, fraction, seed)[1]] = True
    return ~val, val


def not_mapped_back(labels, fraction, seed):
    g, train, val = torch.Generator().manual_seed(seed), [], []
    for c in labels.unique():
        size = int((labels == c).sum())
        order, n = torch.randperm(size, generator=g), round(fraction * size)
        val.append(order[:n]); train.append(order[n:])
    return torch.cat(train), torch.cat(val)


def same_number(labels, fraction, seed):
    g, train, val = torch.Generator().manual_seed(seed), [], []
    n = round(fraction * len(labels) / len(labels.unique()))
    for c in labels.unique():
        i = (labels == c).nonzero().flatten()
        i = i[torch.randperm(len(i), generator=g)]
        val.append(i[:n]); train.append(i[n:])
    return torch.cat(train), torch.cat(val)


def lucky_global(labels, fraction, seed):
    "Its own generator, but a line before it touches torch's."
    torch.rand(1)
    return by_class(labels, fraction, seed)


# 3. batches
class Loader:
    "Without a mistake; subclasses change one thing."
    def __init__(self, images, labels, train, seed=0, batch_size=8):
        self.images, self.labels, self.train = images, labels, train
        self.seed, self.batch_size, self.epoch = seed, batch_size, 0

    def set_epoch(self, epoch): self.epoch = epoch

    def __len__(self):
        n = len(self.labels)
        return n // self.batch_size if self.train else -(-n // self.batch_size)

    def generator(self): return torch.Generator().manual_seed(self.seed + self.epoch)
    def order(self, g): return torch.randperm(len(self.labels), generator=g) if self.train else torch.arange(len(self.labels))
    def scale(self, x): return x.float() / 255

    def mirror(self, x, g):
        chosen = torch.rand(len(x), generator=g) < 0.5
        return torch.where(chosen[:, None, None, None], x.flip(3), x)

    def __iter__(self):
        g = self.generator()
        order = self.order(g)
        for b in range(len(self)):
            i = order[b * self.batch_size:(b + 1) * self.batch_size]
            x = self.scale(self.images[i])
            yield (self.mirror(x, g) if self.train else x), self.labels[i]


class AtOnce:
    "Another right one: numpy's random numbers, everything drawn before the first batch, split by torch."
    def __init__(self, images, labels, train, seed=0, batch_size=8):
        self.images, self.labels, self.train, self.seed, self.batch_size = images, labels, train, seed, batch_size
        self.set_epoch(0)

    def set_epoch(self, epoch): self.epoch = int(epoch)
    def __len__(self): return len(self.labels) // self.batch_size if self.train else (len(self.labels) + self.batch_size - 1) // self.batch_size

    def __iter__(self):
        x, y = self.images.to(torch.float32).div(255.0), self.labels
        if self.train:
            rng = np.random.default_rng([self.seed, self.epoch])
            order = torch.from_numpy(rng.permutation(len(y)))[: len(self) * self.batch_size]
            x, y = x[order], y[order]
            mirrored = torch.from_numpy(rng.random(len(y)) < 0.5)
            x[mirrored] = x[mirrored].flip(-1)
        return iter(list(zip(x.split(self.batch_size), y.split(self.batch_size))))


class UpsideDown(Loader):
    def mirror(self, x, g): return torch.where((torch.rand(len(x), generator=g) < 0.5)[:, None, None, None], x.flip(2), x)

class NoEpoch(Loader):
    def generator(self): return torch.Generator().manual_seed(self.seed)

class NoSeed(Loader):
    def generator(self): return torch.Generator().manual_seed(self.epoch)

class Global(Loader):
    def generator(self): return None

class GlobalSeeded(Loader):
    def generator(self): torch.manual_seed(self.seed + self.epoch); return None

class OneGenerator(Loader):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.g = torch.Generator().manual_seed(self.seed)
    def set_epoch(self, epoch): self.g.manual_seed(self.seed + epoch)
    def generator(self): return self.g

class WholeBatch(Loader):
    def mirror(self, x, g): return x.flip(3) if torch.rand(1, generator=g) < 0.5 else x

class AllMirrored(Loader):
    def mirror(self, x, g): return x.flip(3)

class NeverMirrored(Loader):
    def mirror(self, x, g): return x

class RarelyMirrored(Loader):
    def mirror(self, x, g): return torch.where((torch.rand(len(x), generator=g) < 0.1)[:, None, None, None], x.flip(3), x)

class MirrorsValidation(Loader):
    def __iter__(self):
        train, size, self_len = self.train, self.batch_size, len(self)
        g = self.generator()
        order = torch.randperm(len(self.labels), generator=g) if train else torch.arange(len(self.labels))
        for b in range(self_len):
            i = order[b * size:(b + 1) * size]
            yield self.mirror(self.scale(self.images[i]), g), self.labels[i]

class DropsValidation(Loader):
    def __len__(self): return len(self.labels) // self.batch_size

class KeepsLast(Loader):
    def __len__(self): return (len(self.labels) + self.batch_size - 1) // self.batch_size

class LyingLength(DropsValidation):
    "All batches come, and len() is that of training."
    def __iter__(self):
        g = self.generator()
        order = self.order(g)
        for i in order.split(self.batch_size):
            if self.train and len(i) < self.batch_size: return
            x = self.scale(self.images[i])
            yield (self.mirror(x, g) if self.train else x), self.labels[i]

class ShufflesValidation(Loader):
    def order(self, g): return torch.randperm(len(self.labels), generator=g)

class NotShuffled(Loader):
    def order(self, g): return torch.arange(len(self.labels))

class OtherLabels(Loader):
    def __iter__(self):
        for b, (x, _) in enumerate(super().__iter__()): yield x, self.labels[b * self.batch_size:(b + 1) * self.batch_size]

class NotScaled(Loader):
    def scale(self, x): return x.float()

class Bytes(Loader):
    def scale(self, x): return x

class AlwaysEight(Loader):
    def __init__(self, images, labels, train, seed=0, batch_size=8): super().__init__(images, labels, train, seed, 8)

class OneMore(Loader):
    "Right for 43 samples, one empty batch too many for 40."
    def __len__(self): return len(self.labels) // self.batch_size + (0 if self.train else 1)

class SameMirrorPerBatch(Loader):
    "The generator is made anew for each batch: the same pattern of mirroring in each."
    def mirror(self, x, g): return super().mirror(x, self.generator())


# 4. count_the_forms: 9 * 9 places, mirrored or not; 45,000 / 162; 1 - (161 / 162)**162
FORMS = dict(forms=162, without_set_epoch=1, as_it_is=278, share_seen=0.63)

ANSWERS = {
    "mean_and_std": dict(
        right={"by torch": by_torch, "by numpy, in tuples": by_numpy, "by counting values, in lists": by_counts},
        wrong={
            "mean of each picture's deviation": (per_picture, "each picture's own deviation"),
            "mean of each place's deviation": (per_place, "at each place"),
            "not scaled": (not_scaled, "255"),
            "256 for 255": (by_256, "256 were taken"),
            "one number for all channels": (one_for_all, "one number for all channels"),
            "the variance": (variance, "variance"),
            "CIFAR-10's": (of_cifar, "constants of CIFAR-10"),
            "the deviation of the means": (of_means, "pixels"),
            "the wrong dimensions": (last_channel, "shape (3,)"),
            "the deviation alone": (std_alone, "pair"),
            "std first": (turned, "mean comes first"),
            "around the mean of all channels": (around_all, "around the mean of all channels"),
            "squares of bytes": (bytes_overflow, "uint8"),
        },
    ),
    "split": dict(
        right={"class by class": by_class, "with numpy, rounded down": with_numpy, "by random ranks, rounded up": by_random_ranks, "by scikit-learn": by_sklearn},
        wrong={
            "not stratified": (not_stratified, "class"),
            "the first of each class": (in_order(False), "first"),
            "the last of each class": (in_order(True), "last"),
            "the global seed": (global_seed, "global"),
            "no seed": (no_seed, "global"),
            "always 42": (always_42, "seed"),
            "(val, train)": (turned_round, "the order (train, val)"),
            "fraction of training": (of_training, "fraction"),
            "lists": (lists, "tensor"),
            "labels for indices": (the_labels, "twice"),
            "one lost": (truncated, "in neither part"),
            "all in training": (overlapping, "in training and in validation"),
            "drawn with replacement": (with_replacement, "twice"),
            "masks": (masks, "indices"),
            "not mapped back": (not_mapped_back, "class"),
            "as many of each class": (same_number, "class"),
            "touches the global state": (lucky_global, "global"),
        },
    ),
    "batches": dict(
        right={"mended": Loader, "drawn at once, with numpy": AtOnce},
        wrong={
            "upside down": (UpsideDown, "left to right"),
            "the epoch counts for nothing": (NoEpoch, "epoch"),
            "the seed counts for nothing": (NoSeed, "seed"),
            "the global generator": (Global, "global random state"),
            "the global generator, seeded": (GlobalSeeded, "global random state"),
            "a generator that goes on": (OneGenerator, "twice"),
            "whole batches are mirrored": (WholeBatch, "its own chance"),
            "all are mirrored": (AllMirrored, "about half"),
            "none is mirrored": (NeverMirrored, "mirror"),
            "a tenth is mirrored": (RarelyMirrored, "about half"),
            "validation is mirrored": (MirrorsValidation, "alidation"),
            "validation loses its last batch": (DropsValidation, "last"),
            "training keeps its last batch": (KeepsLast, "full batches"),
            "always batches of eight": (AlwaysEight, "batches of 10"),
            "one batch too many": (OneMore, "empty"),
            "len() lies": (LyingLength, "len"),
            "validation is shuffled": (ShufflesValidation, "order"),
            "training is not shuffled": (NotShuffled, "shuffle"),
            "labels of other pictures": (OtherLabels, "label"),
            "0 to 255": (NotScaled, "0 to 1"),
            "bytes": (Bytes, "float32"),
            "the same mirroring in each batch": (SameMirrorPerBatch, "independent"),
            "an instance": (Loader(torch.zeros(8, 3, 2, 2, dtype=torch.uint8), torch.zeros(8, dtype=torch.int64), True), "The class itself"),
        },
    ),
    "count_the_forms": dict(
        right={"all four": FORMS, "in full": {**FORMS, "share_seen": 1 - (161 / 162) ** 162}},
        wrong={
            "8 x 8 places": ({**FORMS, "forms": 128, "as_it_is": 352}, "9 places"),
            "no mirroring": ({**FORMS, "forms": 81, "as_it_is": 556}, "mirror"),
            "40 x 40 places": ({**FORMS, "forms": 3200}, "A window of 32 x 32"),
            "5 x 5 places": ({**FORMS, "forms": 50}, "side"),
            "30 epochs, 30 forms": ({**FORMS, "without_set_epoch": 30}, "same"),
            "places without mirroring as they are": ({**FORMS, "as_it_is": 556}, "mirror"),
            "half as they are": ({**FORMS, "as_it_is": 22500}, "shifted"),
            "all forms seen": ({**FORMS, "share_seen": 1.0}, "come twice"),
            "what is missing": ({**FORMS, "share_seen": 0.37}, "missed"),
            "per cent": ({**FORMS, "share_seen": 63}, "0 to 1"),
            "half filled in": ({**FORMS, "share_seen": None}, "share_seen"),
        },
    ),
}
