"""Names of the array types that travel through this package."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]
AnyFloats = NDArray[np.floating[Any]]
"""float32 or float64."""
AnyInts = NDArray[np.integer[Any]]
"""Any integer width; slots and sequence numbers come as either."""
