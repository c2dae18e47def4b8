"""Workers that start from nothing, as on Windows and macOS: what no cell can show, since Linux starts them in another way."""
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import resnet_course.data as data


@pytest.fixture
def folder(tmp_path):
    drawn = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for i in range(12): Image.fromarray(drawn.integers(0, 256, (40 + i, 36, 3), dtype=np.uint8)).save(tmp_path / name / f"{i}.png")
    return tmp_path


@pytest.mark.parametrize("method", ["spawn", *(["forkserver"] if sys.platform == "linux" else [])])
def test_workers_give_the_batches_of_memory(folder, method, monkeypatch):
    monkeypatch.setattr(data, "_start_method", lambda: method)
    cfg = data.LoaderConfig(folder=str(folder), image_size=24, batch_size=4, eval_batch_size=3, val_fraction=0.2, pad_crop=2, flip=True, device="cpu")
    memory = data.create_folder_loaders(cfg.model_copy(update=dict(in_memory=True)))
    files = data.create_folder_loaders(cfg.model_copy(update=dict(in_memory=False, num_workers=1)))
    for a, b in ((memory.train, files.train), (memory.val, files.val), (memory.test, files.test)):
        batches = list(zip(a.batches(1), b.batches(1), strict=True))
        assert len(batches) == len(a) > 0 and all(torch.equal(x, u) and torch.equal(y, v) for (x, y), (u, v) in batches)
