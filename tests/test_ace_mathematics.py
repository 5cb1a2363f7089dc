"""The mathematics of ACE: couplings, partitions, and the basis against sums over tuples."""

import math
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest

from skrigidity.atomistic.ace import ACEBasis
from skrigidity.atomistic.ace._densities import Density, DensityTable, spherical_harmonics
from skrigidity.atomistic.ace._enumerate import enumerate_families
from skrigidity.atomistic.ace._invariants import (
    gaunt,
    harmonic_product,
    invariant_tensors,
    real_clebsch_gordan,
    symmetric_invariants,
)
from skrigidity.atomistic.ace._polynomial import distinct_weight, set_partitions
from skrigidity.atomistic.ace._radial import (
    agnesi,
    many_body_functions,
    orthonormal_polynomials,
    pair_functions,
)

PAPER = {"cutoff": 5.5, "max_degree": (24, 20, 16, 12), "r0": [[2.4]]}
LOST = ((2, 0), (18, 0))
KINDS = ["purified", "self-interacting"]


@pytest.fixture
def extra():
    for module in ("ase", "sphericart"):
        pytest.importorskip(module, reason='pip install "skrigidity[atomistic]"')


@cache
def paper_basis(kind):
    return ACEBasis(1, purified=kind == "purified", **PAPER)


def directions(n, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(n, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def neighborhoods(n, count, seed=0, low=1.8, high=5.4):
    """Vectors to `count` neighbors in each of n environments, shape (n, count, 3)."""
    lengths = np.random.default_rng(seed).uniform(low, high, size=(n, count, 1))
    return directions(n * count, seed).reshape(n, count, 3) * lengths


def evaluate(basis, vectors, species=None):
    n, count, _ = vectors.shape
    species = np.zeros((n, count), dtype=int) if species is None else species
    centers = np.zeros(n, dtype=int)
    return basis.evaluate([count] * n, vectors.reshape(-1, 3), species.ravel(), centers)


def orders(basis):
    return np.array([function.order for function in basis.functions])


# --- coupling ------------------------------------------------------------------------------------


def wigner(degree, rotation):
    """Matrix that rotates the real spherical harmonics of one degree."""
    points, block = directions(4 * degree + 4), slice(degree**2, (degree + 1) ** 2)
    before, after = (
        spherical_harmonics(p, degree)[:, block] for p in (points, points @ rotation.T)
    )
    return np.linalg.lstsq(before, after, rcond=None)[0].T


def random_rotation(seed=0):
    from scipy.spatial.transform import Rotation

    return Rotation.random(random_state=seed).as_matrix()


@pytest.mark.parametrize(("l1", "l2"), list(product(range(4), repeat=2)))
def test_real_clebsch_gordan_coefficients_are_an_orthogonal_matrix(l1, l2):
    coupled = range(abs(l1 - l2), l1 + l2 + 1)
    columns = [
        real_clebsch_gordan(l1, l2, degree).reshape(-1, 2 * degree + 1) for degree in coupled
    ]
    matrix = np.hstack(columns)
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(len(matrix)), atol=1e-14)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("degrees", [(1, 1, 1), (2, 1, 2), (3, 2, 4), (5, 6, 4)])
def test_real_clebsch_gordan_coefficients_commute_with_rotations(degrees):
    coefficients = real_clebsch_gordan(*degrees)
    d1, d2, d3 = (wigner(degree, random_rotation()) for degree in degrees)
    rotated = np.einsum("ai,bj,ck,ijk->abc", d1, d2, d3, coefficients, optimize=True)
    np.testing.assert_allclose(rotated, coefficients, atol=1e-12)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("degrees", [(2,), (1, 2), (3, 3), (2, 1, 2), (1, 1, 2, 1)])
def test_products_of_spherical_harmonics(degrees):
    y = spherical_harmonics(directions(20), sum(degrees))
    blocks = {degree: y[:, degree**2 : (degree + 1) ** 2] for degree in range(sum(degrees) + 1)}
    expected = blocks[degrees[0]]
    for degree in degrees[1:]:
        expected = expected[..., None] * blocks[degree].reshape(
            20, *[1] * (expected.ndim - 1), 2 * degree + 1
        )
    parts = [
        np.moveaxis(np.tensordot(array, blocks[degree], axes=(-1, -1)), -1, 0)
        for degree, array in harmonic_product(degrees).items()
    ]
    np.testing.assert_allclose(sum(parts), expected, atol=1e-13)


def test_gaunt_coefficients_vanish_for_odd_sums():
    assert not gaunt(1, 1, 1).any()
    assert gaunt(1, 1, 2).any()


def count_invariants(degrees, group=None):
    """Dimension of the (symmetrized) invariants, by integrating characters over rotations."""
    angles, weights = np.polynomial.legendre.leggauss(64)
    angles = np.pi * (angles + 1) / 2
    measure = weights * (1 - np.cos(angles)) / 2

    def character(degree, angle):
        m = np.arange(-degree, degree + 1)
        return np.cos(m * angle[:, None]).sum(axis=1)

    group = group or [tuple(range(len(degrees)))]
    total = 0.0
    for permutation in group:
        seen, value = set(), np.ones_like(angles)
        for start in range(len(degrees)):
            length, i = 0, start
            while i not in seen:
                seen.add(i)
                length, i = length + 1, permutation[i]
            if length:
                value = value * character(degrees[start], length * angles)
        total += measure @ value
    return round(total / len(group))


@pytest.mark.parametrize(
    "degrees", [(0,), (2, 2), (1, 2), (1, 1, 2), (2, 2, 2), (1, 1, 1, 1), (1, 2, 2, 3), (2,) * 5]
)
def test_invariant_tensors_are_a_basis(degrees):
    tensors = invariant_tensors(degrees)
    assert len(tensors) == count_invariants(degrees)
    flat = tensors.reshape(len(tensors), tensors[0:1].size)
    np.testing.assert_allclose(flat @ flat.T, np.eye(len(flat)), atol=1e-13)


@pytest.mark.parametrize(
    ("degrees", "labels"),
    [
        ((2, 2), (0, 0)),
        ((1, 1, 1), (0, 0, 0)),
        ((1, 1, 2), (0, 0, 2)),
        ((1, 1, 1, 1), (0, 0, 2, 2)),
        ((1, 1, 1, 1), (0, 1, 2, 2)),
        ((2, 2, 2, 2), (0, 0, 0, 0)),
        ((2, 2, 2, 2), (0, 1, 2, 3)),
        ((1, 1, 2, 2), (0, 0, 2, 2)),
        ((0, 0, 1, 1), (0, 0, 2, 3)),
    ],
)
def test_symmetric_invariants_are_a_basis(degrees, labels):
    group = [
        p
        for p in permutations(range(len(labels)))
        if all(labels[i] == label for i, label in zip(p, labels, strict=True))
    ]
    tensors = symmetric_invariants(degrees, labels)
    assert len(tensors) == count_invariants(degrees, group)
    flat = tensors.reshape(len(tensors), tensors[0:1].size)
    np.testing.assert_allclose(flat @ flat.T, len(group) * np.eye(len(flat)), atol=1e-12)
    for p in group:
        np.testing.assert_allclose(tensors.transpose(0, *(i + 1 for i in p)), tensors, atol=1e-13)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("degrees", [(3, 3), (1, 2, 3), (1, 1, 1), (2, 1, 1, 2), (1, 2, 2, 1)])
def test_invariant_tensors_do_not_change_with_rotations(degrees):
    tensors = invariant_tensors(degrees)
    rotated = tensors
    for degree in degrees:
        rotated = np.tensordot(rotated, wigner(degree, random_rotation(1)), axes=(1, 1))
    np.testing.assert_allclose(rotated, tensors, atol=1e-12)


# --- partitions, radial functions, block sizes ---------------------------------------------------


@pytest.mark.parametrize(("n", "bell"), [(1, 1), (2, 2), (3, 5), (4, 15), (5, 52)])
def test_sums_over_distinct_indices(n, bell):
    partitions = list(set_partitions(n))
    assert len(set(partitions)) == bell
    f = np.random.default_rng(n).normal(size=(n, 6))
    direct = sum(math.prod(f[i, j] for i, j in enumerate(p)) for p in permutations(range(6), n))
    by_partitions = sum(
        distinct_weight(p) * math.prod(f[list(block)].prod(axis=0).sum() for block in p)
        for p in partitions
    )
    assert by_partitions == pytest.approx(direct, rel=1e-12)


@pytest.mark.parametrize("power", [0, 4])
def test_polynomials_are_orthonormal(power):
    x, weights = np.polynomial.legendre.leggauss(40)
    values = orthonormal_polynomials(x, 24, power)
    gram = (values * weights * (1 - x**2) ** power) @ values.T
    np.testing.assert_allclose(gram, np.eye(24), atol=1e-12)


@pytest.mark.parametrize("exponents", [(2, 4), (1, 3), (2, 2)])
def test_agnesi_is_steepest_at_the_nearest_neighbor_distance(exponents):
    s = np.linspace(0.5, 2, 1501)
    slope = np.gradient(agnesi(s, exponents), s)
    assert (slope < 0).all()
    assert s[slope.argmin()] == pytest.approx(1.0, abs=2e-3)


def test_radial_functions_vanish_smoothly_at_the_cutoff():
    step = np.array([1e-3, 1e-4])
    many = many_body_functions(5.5 - step, 2.4, 5.5, 8, (2, 4))
    pair = pair_functions(5.5 - step, 2.4, 5.5, 8, (1, 3))
    for near, nearer in (many.T, pair.T):
        np.testing.assert_allclose(near / nearer, 100, rtol=0.1)  # quadratic
    close = np.array([1e-2, 1e-3])
    np.testing.assert_allclose(many_body_functions(close, 2.4, 5.5, 8, (2, 4)), 0, atol=1e-8)
    far, closer = pair_functions(close, 2.4, 5.5, 8, (1, 3)).T
    np.testing.assert_allclose(closer / far, 100, rtol=0.1)


@pytest.mark.parametrize("functions", [many_body_functions, pair_functions])
@pytest.mark.parametrize("exponents", [(2, 4), (1, 3), (2, 2), (1.5, 2.5)])
@pytest.mark.parametrize("n", [0, 1, 2, 12])
def test_slopes_of_radial_functions(functions, exponents, n):
    r, h = np.linspace(0.8, 5.4, 47), 1e-3
    r0 = np.where(np.arange(47) % 2, 2.4, 1.9)

    def values(step):
        return functions(r + step, r0, 5.5, n, exponents)

    found = functions(r, r0, 5.5, n, exponents, slopes=True)
    np.testing.assert_array_equal(found[0], values(0))
    near, far = values(h) - values(-h), values(2 * h) - values(-2 * h)
    expected = (8 * near - far) / (12 * h)
    np.testing.assert_allclose(found[1], expected, rtol=1e-6, atol=1e-6)


def test_products_of_radial_functions_and_their_slopes():
    densities = [Density(0, 0, (1, 2, 2)), Density(1, 1, (2, 3)), Density(0, 0, (2, 2, 2))]
    table = DensityTable(densities, n_pair=1, n_species=2)
    singles = np.random.default_rng(0).normal(size=(2, 4, 5))
    found = table.with_products(singles)
    np.testing.assert_array_equal(table.with_products(singles[:1]), found[:1])
    for density, start in table.start.items():
        factors = singles[:, np.array(density.radial)]
        value, slope = found[:, table.radial[start]]
        np.testing.assert_allclose(value, factors[0].prod(axis=0), rtol=1e-14)
        logarithmic = (factors[1] / factors[0]).sum(axis=0)
        np.testing.assert_allclose(slope, value * logarithmic, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_block_sizes_of_the_paper(kind):
    def sizes(**changes):
        basis = ACEBasis(1, purified=kind == "purified", **(PAPER | changes))
        return np.bincount(orders(basis))[1:].tolist()

    assert np.bincount(orders(paper_basis(kind)))[1:].tolist() == [48, 274, 505, 127]
    assert sizes(drop=[LOST]) == [48, 273, 505, 127]
    assert sizes(pair_basis=False) == [24, 274, 505, 127]
    assert sizes(max_degree=(16, 12, 10, 8)) == [32, 67, 59, 15]
    assert sizes(max_degree=(0, 0, 16)) == [0, 0, 505]


def test_at_most_two_invariants_per_product_in_the_basis_of_the_paper():
    counts = [
        family.n_couplings
        for order, bound in enumerate(PAPER["max_degree"], start=1)
        for family in enumerate_families(order, bound, 1.5, 1)
    ]
    assert set(counts) == {1, 2}


# --- the basis against sums over tuples ----------------------------------------------------------


def tuple_sums(basis, vectors, species, n_radial):
    """All functions for one environment, summed over ordered tuples of neighbors one by one."""
    r, y = np.linalg.norm(vectors, axis=1), spherical_harmonics(vectors, 8)
    r0 = basis.r0[0, species]
    radial = many_body_functions(r, r0, basis.cutoff, n_radial, basis.agnesi)
    pair = pair_functions(r, r0, basis.cutoff, n_radial, basis.pair_agnesi)
    values = []
    for function in basis.functions:
        if not function.degrees:
            values.append(pair[function.radial[0] - 1][species == function.species[0]].sum())
            continue
        factors = list(zip(function.degrees, function.species, function.radial, strict=True))
        labels = tuple(map(factors.index, factors))
        sums = symmetric_invariants(function.degrees, labels)[function.coupling or 0]
        for degree, z, n in factors:
            one = (radial[n - 1] * (species == z))[:, None] * y[:, degree**2 : (degree + 1) ** 2]
            sums = np.tensordot(sums, one, axes=(0, 1))
        if basis.purified:
            indices = np.indices(sums.shape)
            pairs = [indices[a] != indices[b] for a in range(len(indices)) for b in range(a)]
            sums = sums[np.all(pairs, axis=0)] if pairs else sums
        values.append(sums.sum())
    return np.array(values)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 8])
def test_partitions_equal_sums_over_tuples(kind, count):
    basis = paper_basis(kind)
    scale = abs(evaluate(basis, neighborhoods(50, 8))).max(axis=0)
    vectors = neighborhoods(2, count, seed=count)
    species = np.zeros(count, dtype=int)
    direct = np.array([tuple_sums(basis, v, species, 24) for v in vectors])
    assert (abs(evaluate(basis, vectors) - direct) / scale).max() < 1e-12


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_partitions_equal_sums_over_tuples_for_several_species(kind):
    basis = ACEBasis(
        3, 5.5, (6, 6, 6, 6), kind == "purified", r0=np.add.outer([1.0, 1.1, 0.8], [1.0, 1.1, 0.8])
    )
    vectors = neighborhoods(3, 7)
    species = np.array([[0, 1, 2, 0, 1, 2, 0], [0, 0, 1, 1, 1, 0, 1], [2, 2, 2, 1, 0, 0, 2]])
    direct = np.array([tuple_sums(basis, *pair, 6) for pair in zip(vectors, species, strict=True)])
    error = abs(evaluate(basis, vectors, species) - direct)
    assert (error / np.maximum(abs(direct).max(axis=0), 1e-3)).max() < 1e-12


@pytest.mark.usefixtures("extra")
def test_order_five():
    basis = ACEBasis(1, 5.5, (0, 0, 0, 0, 7), True, r0=[[2.4]])
    vectors = neighborhoods(2, 6)
    direct = np.array([tuple_sums(basis, v, np.zeros(6, dtype=int), 7) for v in vectors])
    np.testing.assert_allclose(evaluate(basis, vectors), direct, rtol=1e-10, atol=1e-12)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_triples_of_atoms_by_the_addition_theorem(kind):
    """Order 2 without any coupling coefficients: Legendre polynomials of the angles."""
    basis = ACEBasis(1, 5.5, (0, 12), kind == "purified", r0=[[2.4]])
    (vectors,) = neighborhoods(1, 9)
    r = np.linalg.norm(vectors, axis=1)
    radial = many_body_functions(r, 2.4, 5.5, 12, (2, 4))
    cosines = (vectors / r[:, None]) @ (vectors / r[:, None]).T
    distinct = 1 - np.eye(9) if kind == "purified" else np.ones((9, 9))
    values = evaluate(basis, vectors[None])[0]
    for function, value in zip(basis.functions, values, strict=True):
        (n1, n2), (degree, _) = function.radial, function.degrees
        legendre = np.polynomial.legendre.legval(cosines, np.eye(degree + 1)[degree])
        kernel = np.sqrt(2 * degree + 1) / (4 * np.pi) * legendre * distinct
        expected = radial[n1 - 1] @ kernel @ radial[n2 - 1] * (np.sqrt(2) if n1 == n2 else 1)
        assert abs(value) == pytest.approx(abs(expected), rel=1e-11, abs=1e-12)


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [4, 8, 16])
def test_invariances_of_the_basis(kind, count):
    basis = paper_basis(kind)
    vectors = neighborhoods(40, count)
    expected = evaluate(basis, vectors)
    scale = abs(expected).max(axis=0)
    order = np.random.default_rng(0).permutation(count)
    for other in (vectors @ random_rotation().T, -vectors, vectors[:, order]):
        assert (abs(evaluate(basis, other) - expected) / scale).max() < 1e-12


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("kind", KINDS)
def test_features_of_orders_two_to_four_are_linearly_independent(kind):
    basis = paper_basis(kind)
    X = evaluate(basis, neighborhoods(700, 8))
    for order, size in {2: 274, 3: 505, 4: 127}.items():
        block = X[:, orders(basis) == order]
        values = np.linalg.svd(block / np.linalg.norm(block, axis=0), compute_uv=False)
        assert len(values) == size
        assert values[-1] > 1e-6 * values[0]


@pytest.mark.usefixtures("extra")
def test_self_interaction_is_what_purified_features_lack():
    basis = {kind: paper_basis(kind) for kind in KINDS}
    ((vector,),) = neighborhoods(1, 1)
    values = {k: evaluate(b, vector[None, None])[0] for k, b in basis.items()}
    order = orders(basis["purified"])
    np.testing.assert_array_equal(
        values["purified"][order == 1], values["self-interacting"][order == 1]
    )
    assert not values["purified"][order > 1].any()
    assert all(values["self-interacting"][order == k].any() for k in (2, 3, 4))
