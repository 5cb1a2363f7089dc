"""Several descriptors of the same frames, side by side."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import _fit_context, clone
from sklearn.pipeline import Pipeline, make_union
from sklearn.utils import Bunch
from sklearn.utils._param_validation import HasMethods, StrOptions
from sklearn.utils.metaestimators import _BaseComposition
from sklearn.utils.validation import check_is_fitted

from skrigidity.atomistic._base import FrameBackward, FrameDerivatives, FrameTransformer
from skrigidity.environments import Environments, hstack, join_components
from skrigidity.frames import Atoms, check_frames


class DescriptorUnion(FrameTransformer, _BaseComposition):
    """Put the features of several descriptors side by side, environment by environment.

    scikit-learn's ``FeatureUnion`` is for one row per sample and would stack the atoms of frames.

    Parameters
    ----------
    descriptors : list of (str, descriptor)
        Names and descriptors of this package, or other transformers of frames, such as pipelines
        that begin with a descriptor. ``"drop"`` in place of one leaves it out. They are cloned.
    output : {"environments", "mean", "sum"}, default=None
        A row per environment, or one per frame, from all descriptors. None leaves that to them;
        they have to agree on whether it is environments or frames.
    components_by : {"components", "descriptors"}, default="components"
        Whether each component of a descriptor is one of the union, called
        ``"descriptor__component"`` (``"descriptor"`` where it has only one, ``"all"``), or each
        descriptor is one component.
    memory : str or object with the joblib.Memory interface, default=None
        Where those descriptors that can do so keep their features on disk. None leaves that to
        them.

    Attributes
    ----------
    descriptors_ : list of (str, descriptor)
        The fitted descriptors, without dropped ones.
    named_descriptors_ : Bunch
        The same, by name.
    n_features_out_ : int
        Number of columns. They are named ``"descriptor__column"``.
    components_ : dict of str to slice or ndarray of int
        Columns of each component, for component-wise rigidities.

    See Also
    --------
    make_descriptor_union : The same, with names made from the classes.

    Examples
    --------
    >>> from ase.build import molecule
    >>> from skrigidity.atomistic import CompositionDescriptor, DescriptorUnion, FeatomicDescriptor
    >>> soap = FeatomicDescriptor(cutoff=3.0, max_radial=2, max_angular=1)
    >>> union = DescriptorUnion([("atoms", CompositionDescriptor()), ("soap", soap)])
    >>> X = union.fit_transform([molecule("H2O"), molecule("OH")])
    >>> X
    Environments(2 structures, 5 environments, 44 features, float64)
    >>> list(X.components)
    ['atoms__H', 'atoms__O', 'soap__H-H', 'soap__H-O', 'soap__O-O']
    >>> union.set_params(soap__max_radial=1, output="sum").fit_transform([molecule("OH")]).shape
    (1, 22)
    """

    _parameter_constraints: dict[str, list[Any]] = {
        "descriptors": [list, tuple],
        "output": [StrOptions({"environments", "mean", "sum"}), None],
        "components_by": [StrOptions({"components", "descriptors"})],
        "memory": [str, HasMethods(["cache"]), None],
    }

    def __init__(
        self,
        descriptors: list[tuple[str, Any]],
        *,
        output: str | None = None,
        components_by: str = "components",
        memory: Any = None,
    ) -> None:
        self.descriptors = descriptors
        self.output = output
        self.components_by = components_by
        self.memory = memory

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters, with those of the descriptors as ``name__parameter``.

        Parameters
        ----------
        deep : bool, default=True
            Whether to add those of the descriptors.

        Returns
        -------
        dict of str to object
            Parameters by their names.
        """
        return self._get_params("descriptors", deep=deep)

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of descriptors (``soap__cutoff``), or replace a descriptor by name.

        Parameters
        ----------
        **params : dict
            Parameters by their names.

        Returns
        -------
        object
            Itself.
        """
        return self._set_params("descriptors", **params)

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Iterable[Atoms], y: Any = None) -> Self:
        """Fit the descriptors.

        Parameters
        ----------
        X : list of ase.Atoms
            The frames.
        y : array-like, default=None
            For transformers in pipelines that need it.

        Returns
        -------
        object
            Itself.

        Raises
        ------
        TypeError
            If ``X`` is not a list of frames, or ``descriptors`` not of named transformers.
        ValueError
            If the descriptors do not agree on their output, and for what they do not accept.
        """
        named = self._named()
        frames = check_frames(X)
        self.descriptors_ = [(name, self._adapted(d).fit(frames, y)) for name, d in named]
        outputs = {name: getattr(d, "output", None) for name, d in self.descriptors_}
        _reject_mixed({name: o == "environments" for name, o in outputs.items() if o is not None})
        self.named_descriptors_ = Bunch(**dict(self.descriptors_))
        widths = [len(d.get_feature_names_out()) for _, d in self.descriptors_]
        own = self.components_by == "components"
        parts = [getattr(d, "components_", None) if own else None for _, d in self.descriptors_]
        self.components_ = join_components(parts, widths, [name for name, _ in named]) or {}
        self.n_features_out_ = sum(widths)
        return self

    def transform(self, X: Iterable[Atoms]) -> Any:
        """Compute the features of every atom, or of every frame.

        Parameters
        ----------
        X : list of ase.Atoms
            The frames.

        Returns
        -------
        Environments or ndarray of shape (n_frames, n_features_out)
            Environments and DataFrames know the ``components_``, for
            ``ComponentRidge(components="auto")``.

        Raises
        ------
        TypeError
            If ``X`` is not a list of frames.
        ValueError
            For frames that a descriptor does not accept.
        """
        check_is_fitted(self, "components_")
        frames = check_frames(X)
        parts = {name: d.transform(frames) for name, d in self.descriptors_}
        if _reject_mixed({name: isinstance(part, Environments) for name, part in parts.items()}):
            joined = hstack(list(parts.values()))
            return joined.with_values(joined.values, self.components_)
        return self._wrap_output(np.hstack([np.asarray(part) for part in parts.values()]))

    @property
    def receptive_field_(self) -> float:
        """How far away atoms can be that change an atom's features: the largest of the parts."""
        first = [d[0] if isinstance(d, Pipeline) else d for _, d in self.descriptors_]
        return max(float(getattr(d, "receptive_field_", np.inf)) for d in first)

    def _derivatives(self, frame: Atoms) -> FrameDerivatives:
        parts = [d.derivatives(frame) for d in self._differentiable()]
        return FrameDerivatives(
            *(np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True))
        )

    def _backward(self, frame: Atoms, weights: NDArray[np.float64]) -> FrameBackward:
        descriptors = self._differentiable()
        ends = np.cumsum([d.n_features_out_ for d in descriptors])
        split = np.split(weights, ends[:-1])
        parts = [d.backward(frame, w) for d, w in zip(descriptors, split, strict=True)]
        return FrameBackward(*(sum(arrays) for arrays in zip(*parts, strict=True)))

    def _differentiable(self) -> list[Any]:
        for name, d in self.descriptors_:
            if not hasattr(d, "derivatives"):
                raise NotImplementedError(
                    f"descriptors: {name!r}, {type(d).__name__}, has no derivatives"
                )
        return [d for _, d in self.descriptors_]

    def _named(self) -> list[tuple[str, Any]]:
        try:
            self._validate_names([name for name, _ in self.descriptors])
        except (TypeError, ValueError) as error:
            raise type(error)(
                f"descriptors: expected a list of (name, descriptor): {error}"
            ) from None
        named = [(name, d) for name, d in self.descriptors if not isinstance(d, str)]
        for name, d in self.descriptors:
            if d != "drop" and (isinstance(d, (str, type)) or not hasattr(d, "transform")):
                raise TypeError(f'descriptors: {name!r} is {d!r}, expected a descriptor or "drop"')
        if not named:
            raise ValueError("descriptors: expected at least one that is not dropped, got none")
        return named

    def _adapted(self, descriptor: Any) -> Any:
        changes = {} if self.output is None else {"output": self.output}
        if self.memory is not None and "memory" in descriptor.get_params(deep=False):
            changes["memory"] = self.memory
        return clone(descriptor).set_params(**changes)

    def _names(self) -> list[str]:
        return [f"{name}__{c}" for name, d in self.descriptors_ for c in d.get_feature_names_out()]


def make_descriptor_union(*descriptors: Any, **parameters: Any) -> DescriptorUnion:
    """Make a :class:`DescriptorUnion` whose descriptors are named after their classes.

    Parameters
    ----------
    *descriptors : descriptors
        The descriptors, not fitted.
    **parameters : dict
        The other parameters of :class:`DescriptorUnion`.

    Returns
    -------
    DescriptorUnion
        The union.

    Examples
    --------
    >>> from skrigidity.atomistic import CompositionDescriptor, FeatomicDescriptor
    >>> from skrigidity.atomistic import make_descriptor_union
    >>> union = make_descriptor_union(CompositionDescriptor(), FeatomicDescriptor())
    >>> [name for name, _ in union.descriptors]
    ['compositiondescriptor', 'featomicdescriptor']
    """
    return DescriptorUnion(make_union(*descriptors).transformer_list, **parameters)


def _reject_mixed(environments: dict[str, bool]) -> bool:
    """Return whether all give rows per environment, or say which do and which do not."""
    if len(set(environments.values())) > 1:
        per_atom = [name for name, yes in environments.items() if yes]
        per_frame = [name for name, yes in environments.items() if not yes]
        raise ValueError(
            f"descriptors: {', '.join(per_atom)} give a row per environment, "
            f"{', '.join(per_frame)} one per frame; set output of the union"
        )
    return all(environments.values())
