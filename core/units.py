"""Bounds of sane values and the few conversions that have names."""

from typing import Final

LAT_DEG_MAX: Final = 90.0
LNG_DEG_MAX: Final = 180.0
ACCURACY_M_MAX: Final = 100_000.0
"""Coarser than any cell tower; a larger number is noise."""
SPEED_MPS_MAX: Final = 1_000.0
"""Wire bound only (faster than an airliner); plausibility is the track filter's business."""
EPOCH_S_MIN: Final = 0.0
EPOCH_S_MAX: Final = 32_503_680_000.0
"""The year 3000: phones with broken clocks stay representable and are judged by their age."""
SEQ_MAX: Final = 2**53 - 1
"""Largest integer that every JSON reader keeps exactly (RFC 8259 section 6)."""

KMH_PER_MPS: Final = 3.6
MPS_PER_KNOT: Final = 1_852 / 3_600
"""A knot is a nautical mile (1,852 m) an hour."""
