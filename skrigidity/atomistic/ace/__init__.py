r"""The atomic cluster expansion (ACE): invariants of ordered body number, in numpy.

An environment is the set of vectors to an atom's neighbors j. One-particle functions
:math:`\phi_{nlm}(j) = R_n(r_j) Y_{lm}(\hat r_j)` are multiplied over nu factors and coupled to a
number that no rotation or inversion changes,

.. math:: B = \sum_{m_1 \dots m_\nu} T_{m_1 \dots m_\nu}
          \sum_{j_1, \dots, j_\nu} \prod_i \phi_{n_i l_i m_i}(j_i).

With the inner sum over all tuples of neighbors it is a product of sums; these *self-interacting*
functions of order nu contain terms of lower body order, where neighbors coincide. *Purified*
functions take it over tuples of distinct neighbors, by inclusion and exclusion.

`_radial` and `_invariants` are the mathematics, `_enumerate` lists a basis, `_polynomial` writes
it as polynomials in `_densities`, and `_basis` evaluates them.

References
----------
Drautz, Phys. Rev. B 99, 014104 (2019). Dusson et al., J. Comput. Phys. 454, 110946 (2022).
Ho, Gutleb, Ortner, J. Comput. Phys. 515, 113267 (2024): purification.
"""

from skrigidity.atomistic.ace._basis import ACEBasis

__all__ = ["ACEBasis"]
