"""Dask collections: rows stay where their chunks are, accumulators merge in a tree.

Nothing here imports Dask before somebody hands over one of its collections.
"""

from ._chunks import Chunks as Chunks
from ._chunks import check_chunks as check_chunks
from ._chunks import example as example
from ._chunks import is_array as is_array
from ._maps import by_chunks as by_chunks
from ._rows import ChunkedRows as ChunkedRows
from ._rows import chunked_rows as chunked_rows
from ._rows import empty_like as empty_like
from ._rows import without_hessian as without_hessian
from ._tree import merged_in_tree

__all__ = ["merged_in_tree"]
