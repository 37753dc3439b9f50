"""Handwritten digits trained by PyTorch Lightning's Trainer."""

import logging
import warnings

import pytorch_lightning as lightning
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # it announces every fit
warnings.filterwarnings("ignore", module="pytorch_lightning")  # advice on workers that load data


class Net(lightning.LightningModule):
    """An MLP, as a LightningModule that is given its optimizer."""

    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
        self.optimizer = None

    def training_step(self, batch, index):
        images, labels = batch
        loss = nn.functional.cross_entropy(self.layers(images), labels)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch, index):
        images, labels = batch
        outputs = self.layers(images)
        self.log("val_loss", nn.functional.cross_entropy(outputs, labels))
        self.log("val_accuracy", (outputs.argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self):
        return self.optimizer  # the same one at every fit, so that its state lasts


class Digits:
    """Scikit-learn's handwritten digits, by PyTorch Lightning."""

    metrics = ("val_loss", "val_accuracy")

    def __init__(self, width: int = 64):
        self.width = width

    def train(self, setting, seed, resume):
        """Train one setting: fit stops after one more epoch each time, and goes on where it stopped."""
        batches, unseen = loaders(setting.batch_size)
        net = Net(self.width)
        net.optimizer = setting.torch_optimizer(net, updates_per_epoch=len(batches))
        trainer = lightning.Trainer(
            max_epochs=0,
            accelerator=setting.device,
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        for epoch in range(1, setting.epochs + 1):
            trainer.fit_loop.max_epochs = epoch
            trainer.fit(net, batches, unseen)
            yield {name: trainer.callback_metrics[name] for name in ("train_loss", *self.metrics)}


def loaders(batch_size):
    """Batches to train on, and all that is held out as one batch."""
    images, labels = load_digits(return_X_y=True)
    images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    known, unseen = order[:1437], order[1437:]
    return (
        DataLoader(TensorDataset(images[known], labels[known]), batch_size, shuffle=True, drop_last=True),
        DataLoader(TensorDataset(images[unseen], labels[unseen]), len(unseen)),
    )
