"""Choosing what to compute next: the samples that pin the predictions that matter."""

from ._augmentation import augmentation_study
from ._sampler import SubsetSampler
from ._selector import PRSelector
from ._subset import SubsetRegressor

__all__ = ["PRSelector", "SubsetRegressor", "SubsetSampler", "augmentation_study"]
