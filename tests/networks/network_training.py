"""Training of small networks in under a minute, by one loop for all that have an adapter."""

import numpy as np
import pytest

from skrigidity.last_layer import adapter_of


def energies_of_atoms(frames, energies):
    """Return the composition's part of energies, a dict, and the spread per atom of the rest."""
    numbers = sorted({int(z) for atoms in frames for z in atoms.numbers})
    counts = np.array([[np.sum(atoms.numbers == z) for z in numbers] for atoms in frames], float)
    values = np.linalg.lstsq(counts, np.asarray(energies, float), rcond=None)[0]
    rest = (energies - counts @ values) / counts.sum(axis=1)
    return dict(zip(numbers, values, strict=True)), float(np.sqrt(np.mean(rest**2)))


def train(
    model,
    frames,
    energies,
    *,
    forces=None,
    force_weight=1.0,
    epochs=30,
    learning_rate=5e-3,
    batch_size=20,
    seed=0,
    after_epoch=None,
):
    """Fit a network to energies per atom, and forces where given, by Adam with a cosine schedule.

    Losses are mean squares, in units of their own mean squares beside the network's offset;
    `force_weight` multiplies that of forces. ``after_epoch(epoch)`` is called after each.
    """
    torch = pytest.importorskip("torch")
    adapter = adapter_of(model)
    rng = np.random.default_rng(seed)
    parameters = [x for x in model.parameters() if x.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=learning_rate)
    sizes = np.array([len(atoms) for atoms in frames])
    _, unit = energies_of_atoms(frames, energies)
    size_of_forces = 1.0 if forces is None else np.sqrt(np.mean(np.concatenate(forces) ** 2))
    n_batches = -(-len(frames) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=epochs * n_batches, pct_start=0.1
    )
    for epoch in range(epochs):
        for part in np.array_split(rng.permutation(len(frames)), n_batches):
            batch = adapter.batch([frames[i] for i in part], derivatives=True)
            latent = adapter.latent(batch, derivatives=True)
            found = latent.output[:, 0]
            known = torch.as_tensor(np.asarray(energies)[part]).to(found)
            error = (found - known) / torch.as_tensor(sizes[part]).to(found) / unit
            loss = (error**2).mean()
            if forces is not None:
                known = np.concatenate([forces[i] for i in part])
                (slopes,) = torch.autograd.grad(found.sum(), latent.positions, create_graph=True)
                error = (slopes + torch.as_tensor(known).to(slopes)) / size_of_forces
                loss = loss + force_weight * (error**2).mean()
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            torch.nn.utils.clip_grad_norm_(parameters, 10.0)
            optimizer.step()
            schedule.step()
        if after_epoch is not None:
            after_epoch(epoch)
    return model
