"""Correlations of the neighbor density beyond the power spectrum, through featomic."""

import numpy as np
import pytest
from sklearn.base import clone

from skrigidity.atomistic import FeatomicDescriptor, clear_cache

SMALL = {"cutoff": 3.0, "max_radial": 1, "max_angular": 2}


@pytest.fixture(autouse=True)
def _extra():
    for module in ("ase", "featomic", "metatensor.operations"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')
    clear_cache()


def molecules(*names):
    from ase.build import molecule

    return [molecule(name) for name in names]


def correlations(n, **parameters):
    return FeatomicDescriptor("DensityCorrelations", n_correlations=n, **(SMALL | parameters))


def test_one_product_is_the_power_spectrum():
    frames = molecules("H2O", "CH3CH2OH", "O")
    spectrum = FeatomicDescriptor(**SMALL).fit_transform(frames).values
    ours = correlations(1).fit_transform(frames).values
    np.testing.assert_allclose(ours @ ours.T, spectrum @ spectrum.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("radial_basis", ["gto", "laplacian_eigenstate"])
def test_invariances(n, radial_basis):
    from scipy.spatial.transform import Rotation

    (frame,) = molecules("CH3OH")
    frame.numbers[frame.numbers == 6] = 8
    descriptor = correlations(n, radial_basis=radial_basis, max_angular=1).fit([frame])
    (expected,) = descriptor.transform([frame])
    assert np.abs(expected).max() > 1e-4
    turned, mirrored = frame.copy(), frame.copy()
    turned.positions = frame.positions @ Rotation.random(random_state=0).as_matrix().T
    mirrored.positions *= -1
    order = np.random.default_rng(0).permutation(len(frame))
    for other, rows in ((turned, expected), (mirrored, expected), (frame[order], expected[order])):
        np.testing.assert_allclose(descriptor.transform([other])[0], rows, rtol=0, atol=1e-12)


def test_the_bispectrum_tells_more_than_the_power_spectrum():
    """Two rings with the same angles between pairs of neighbors, not between triples."""
    from ase import Atoms

    def ring(*eighths):
        angles = 2 * np.pi * np.array(eighths) / 8
        places = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
        return Atoms("CH4", [[0, 0, 0], *places])

    frames = [ring(0, 1, 3, 4), ring(0, 1, 2, 5)]
    settings = {"max_radial": 0, "max_angular": 4, "density_width": 0.2}
    power, bispectrum = (correlations(n, **settings).fit_transform(frames) for n in (1, 2))
    np.testing.assert_allclose(power[0][0], power[1][0], rtol=0, atol=1e-12)
    assert np.abs(bispectrum[0][0] - bispectrum[1][0]).max() > 1e-3


def test_columns_species_and_components():
    frames = molecules("H2O", "CH3OH")
    descriptor = correlations(2, max_radial=0, max_angular=1).fit(frames)
    names = descriptor.get_feature_names_out()
    assert len(names) == len(set(names)) == descriptor.n_features_out_
    assert set(descriptor.components_) == {
        f"{a}-{b}-{c}" for a in "HCO" for b in "HCO" for c in "HCO"
    }
    whole = descriptor.transform(frames)
    np.testing.assert_allclose(descriptor.transform(frames[:1])[0], whole[0], atol=1e-14)
    absent = [i for i, name in enumerate(names) if "C" in name.split()[0]]
    assert not whole[0][:, absent].any()
    blocks = clone(descriptor).set_params(center_types="blocks").fit(frames)
    assert blocks.n_features_out_ == 3 * descriptor.n_features_out_


def test_hypers_and_caches():
    frames = molecules("H2O")
    descriptor = correlations(2).fit(frames)
    assert descriptor.hypers_["n_correlations"] == 2
    first = descriptor.transform(frames)
    np.testing.assert_array_equal(descriptor.transform(frames).values, first.values)
    assert correlations(1).fit_transform(frames).shape != first.shape
    narrow = correlations(2, hypers={"density": {"width": 0.2}}).fit_transform(frames)
    assert not np.allclose(narrow.values, first.values)
    with pytest.raises(ValueError, match="'n_correlations' parameter"):
        correlations(0).fit(frames)
    with pytest.raises(ValueError, match="DensityCorrelations does not accept them"):
        correlations(2, hypers={"typo": 1}).fit(frames)
