"""Dask collections: rows stay where their chunks are, accumulators merge in a tree.

Nothing here imports Dask before somebody hands over one of its collections.
"""

from ._chunks import Chunks, check_chunks, example
from ._maps import by_chunks
from ._rows import ChunkedRows, chunked_rows, without_hessian
from ._tree import merged_in_tree

__all__ = ["ChunkedRows", "Chunks", "by_chunks", "check_chunks", "chunked_rows", "example"]
__all__ += ["merged_in_tree", "without_hessian"]
