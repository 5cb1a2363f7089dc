"""Kernel ridge regression with prediction rigidities."""

from ..hessian import KernelRows
from ._ridge import RigidKernelRidge

__all__ = ["KernelRows", "RigidKernelRidge"]
