"""Dask collections: rows stay where their chunks are, accumulators merge in a tree.

Nothing here imports Dask before somebody hands over one of its collections.
"""

from ._maps import by_chunks
from ._rows import ChunkedRows, chunked_rows
from ._tree import merged_in_tree

__all__ = ["ChunkedRows", "by_chunks", "chunked_rows", "merged_in_tree"]
