"""Dask collections: rows stay where their chunks are, accumulators merge in a tree.

Nothing here imports Dask before somebody hands over one of its collections.
"""

from ._chunks import is_chunked
from ._maps import by_chunks, chunkwise
from ._rows import ChunkedRows, chunked_rows
from ._tree import merged_in_tree

__all__ = ["ChunkedRows", "by_chunks", "chunked_rows", "chunkwise", "is_chunked"]
__all__ += ["merged_in_tree"]
