"""metatrain's models for tests: small ones with random weights, and how to train a SOAP-BPNN."""

import pytest
from network_training import energies_of_atoms, train


def import_metatrain():
    """Import torch and metatomic, or skip: metatrain's own modules are imported where needed."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("metatrain.soap_bpnn")
    return torch, pytest.importorskip("metatomic.torch")


def energy_targets(*names, unit="eV"):
    """Return metatrain's description of energies of structures."""
    from metatrain.utils.data.target_info import get_energy_target_info

    options = {"quantity": "energy", "unit": unit}
    return {name: get_energy_target_info(name, options) for name in names or ("energy",)}


def small_model(
    species,
    architecture="soap_bpnn",
    *,
    targets=("energy",),
    length_unit="Angstrom",
    seed=0,
    **hypers,
):
    """Return a model in float32 with random weights; `hypers` change the defaults given here."""
    torch, _ = import_metatrain()
    from metatrain.utils.architectures import get_default_hypers, import_architecture
    from metatrain.utils.data import DatasetInfo

    small = {
        "soap_bpnn": {
            "soap": {"max_angular": 3, "max_radial": 3, "cutoff": {"radius": 4.0, "width": 0.5}},
            "bpnn": {"num_neurons_per_layer": 8},
            "heads": dict.fromkeys(targets, "mlp"),
        },
        "pet": {
            "cutoff": 4.0,
            "d_pet": 8,
            "d_node": 8,
            "d_head": 8,
            "d_feedforward": 8,
            "num_heads": 2,
            "num_gnn_layers": 2,
        },
    }
    given = get_default_hypers(architecture)["model"]
    for name, value in (small[architecture] | hypers).items():
        given[name] = {**given[name], **value} if isinstance(value, dict) else value
    info = DatasetInfo(
        length_unit=length_unit, atomic_types=sorted(species), targets=energy_targets(*targets)
    )
    torch.manual_seed(seed)
    return import_architecture(architecture).__model__(given, info)


def set_units(model, energies, scale, target="energy"):
    """Give a model energies of free atoms, by atomic number, and the unit that it learns in."""
    torch, _ = import_metatrain()
    import metatensor.torch as mts

    composition, scaler = model.additive_models[0], model.scaler
    values = torch.tensor([[float(energies[z])] for z in model.atomic_types]).double()
    composition.model.weights[target].block().values[:] = values
    maps = {(composition, "composition"): composition.model.weights[target]}
    for name in ("scales", "per_target_scales"):
        found = getattr(scaler.model, name)[target]
        found.block().values[:] = scale
        maps[scaler, name.replace("scales", "scaler")] = found
    for (module, name), found in maps.items():  # what is saved and exported
        buffer = mts.save_buffer(mts.make_contiguous(found.to("cpu", torch.float64)))
        setattr(module, f"{target}_{name}_buffer", buffer)
    return model


def train_soap_bpnn(frames, energies, *, seed=0, training=None, **hypers):
    """Train a SOAP-BPNN on energies (and forces: ``training["forces"]``)."""
    atoms, unit = energies_of_atoms(frames, energies)
    medium = {
        "soap": {"max_angular": 4, "max_radial": 4, "cutoff": {"radius": 4.5, "width": 0.5}},
        "bpnn": {"num_neurons_per_layer": 32},
    }
    model = small_model(sorted(atoms), seed=seed, **(medium | hypers))
    set_units(model, atoms, unit)
    return train(model, frames, energies, seed=seed, **(training or {}))
