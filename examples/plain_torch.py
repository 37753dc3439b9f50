"""Handwritten digits by a training loop of one's own, in plain PyTorch."""

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Digits:
    """Scikit-learn's handwritten digits, by a loop in plain PyTorch."""

    metrics = ("val_loss", "val_accuracy")

    def __init__(self, width: int = 64):
        self.width = width

    def train(self, setting, seed, resume):
        """Train one setting: a yield once an epoch. Random numbers are seeded by then."""
        images, labels = load_digits(return_X_y=True)
        images, labels = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        known, unseen = order[:1437], order[1437:]
        batches = DataLoader(
            TensorDataset(images[known], labels[known]), setting.batch_size, shuffle=True, drop_last=True
        )
        model = nn.Sequential(nn.Linear(64, self.width), nn.ReLU(), nn.Linear(self.width, 10))
        model.to(setting.device)
        optimizer = setting.torch_optimizer(model, updates_per_epoch=len(batches))
        for _ in range(setting.epochs):
            losses = []
            for inputs, targets in batches:
                optimizer.zero_grad()
                outputs = model(inputs.to(setting.device))
                loss = nn.functional.cross_entropy(outputs, targets.to(setting.device))
                loss.backward()
                optimizer.step()  # carries warm-up and schedule along
                losses.append(loss.item())
            with torch.no_grad():
                outputs = model(images[unseen].to(setting.device)).cpu()
            yield {
                "train_loss": sum(losses) / len(losses),
                "val_loss": nn.functional.cross_entropy(outputs, labels[unseen]),
                "val_accuracy": (outputs.argmax(dim=1) == labels[unseen]).float().mean(),
            }
