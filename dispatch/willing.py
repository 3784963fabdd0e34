"""How likely a technician refuses an offer: counted for each of them, by service and hour, and smoothed. Pure.

Three levels, each pulled towards the one before it by so many imagined answers (Beta-smoothing)::

    the config's share  ->  the technician's  ->  the technician's for this service at this hour

Counts fade by a half-life. An offer that was accepted counts as an answer, a declined or expired one as a refusal; one
that never arrived or was withdrawn says nothing of its technician.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from dispatch.model import Order, Technician
from dispatch.problem import FloatArray
from dispatch.settings import DeclineSettings

CELLS_LEN_MAX: Final = 48
"""Services and hours remembered of one technician; one more takes the place of the one not asked about for longest."""
ALL: Final = ""
"""Name of the cell that counts everything."""
_DAY_S: Final = 86_400.0

Cell = tuple[float, float, float]
"""(refusals, answers, when both were counted up to)."""


def cell_of(service: str, hour: float) -> str:
    """Name of the cell of a service at an hour of the city's day."""
    return f"{int(hour):02d} {service}"


def served_at(order: Order, now: float) -> float:
    """The moment by whose hour an answer to the order counts: that of its service, not of the question."""
    return now if order.scheduled_for is None else max(order.scheduled_for, now)


def answered(
    technician: Technician, service: str, hour: float, now: float, settings: DeclineSettings, *, refused: bool
) -> Technician:
    """The technician with one answer more. ``hour`` is that of the service (``served_at``)."""
    cells = dict(technician.answers)
    for name in (ALL, cell_of(service, hour)):
        refusals, answers, _ = _faded(cells.get(name), now, settings)
        cells[name] = (refusals + refused, answers + 1.0, now)
    while len(cells) > CELLS_LEN_MAX + 1:
        del cells[min((name for name in cells if name != ALL), key=lambda name: (cells[name][2], name))]
    return replace(technician, answers=cells, changed_at=now)


def probability(technician: Technician, cell: str, now: float, settings: DeclineSettings) -> float:
    """How likely the technician refuses, in (0, 1)."""
    if not technician.answers:
        return settings.prior_share
    weight = settings.prior_weight
    refusals, answers, _ = _faded(technician.answers.get(ALL), now, settings)
    overall = (weight * settings.prior_share + refusals) / (weight + answers)
    refusals, answers, _ = _faded(technician.answers.get(cell), now, settings)
    return (weight * overall + refusals) / (weight + answers)


def probabilities(
    people: Sequence[Technician], cells: Sequence[str], now: float, settings: DeclineSettings
) -> FloatArray:
    """The same of many, shape (len(cells) * len(people),), one cell after the other."""
    found = np.full((len(cells), len(people)), settings.prior_share)
    rows = [row for row, person in enumerate(people) if person.answers]
    if rows:
        answers, weight = [people[row].answers for row in rows], settings.prior_weight
        refusals, answered_len = _faded_all([given.get(ALL) for given in answers], now, settings)
        overall = (weight * settings.prior_share + refusals) / (weight + answered_len)
        for number, cell in enumerate(cells):
            refusals, answered_len = _faded_all([given.get(cell) for given in answers], now, settings)
            found[number, rows] = (weight * overall + refusals) / (weight + answered_len)
    return found.ravel()


def _faded_all(cells: Sequence[Cell | None], now: float, settings: DeclineSettings) -> tuple[FloatArray, FloatArray]:
    """Refusals and answers of many cells, ``_faded``."""
    known = [(row, *cell) for row, cell in enumerate(cells) if cell is not None]
    found = np.zeros((2, len(cells)))
    if known:
        rows, refusals, answers, at = np.array(known, dtype=np.float64).T
        kept = 0.5 ** (np.maximum(now - at, 0.0) / (settings.half_life_days * _DAY_S))
        found[:, rows.astype(np.int64)] = refusals * kept, answers * kept
    return found[0], found[1]


def _faded(cell: Cell | None, now: float, settings: DeclineSettings) -> Cell:
    if cell is None:
        return 0.0, 0.0, now
    refusals, answers, at = cell
    kept = 0.5 ** (max(now - at, 0.0) / (settings.half_life_days * _DAY_S))
    return refusals * kept, answers * kept, now
