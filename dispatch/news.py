"""Effects that tell of a change, filled with all that their reader needs."""

from core.ids import UserId
from dispatch import rating
from dispatch.book import Book
from dispatch.events import OrderChanged, OrderFact, TechnicianChanged
from dispatch.model import Order, OrderState, Technician
from dispatch.settings import RatingSettings


def rating_now(book: Book, technician: Technician, now: float, settings: RatingSettings) -> float:
    """Mean rating by which dispatch goes."""
    city = rating.city_mean(book.city.at_time(now, settings.half_life_days), settings)
    return rating.mean(technician, city, now, settings)


def order_changed(
    book: Book,
    order: Order,
    what: OrderState | OrderFact,
    now: float,
    settings: RatingSettings,
    lost_by: UserId | None = None,
) -> OrderChanged:
    """Tell of an order with its technician; a technician without ratings is shown none."""
    technician = book.technicians.get(order.technician) if order.technician is not None else None
    shown = None
    if technician is not None and technician.rating_weight > 0.0:
        shown = rating_now(book, technician, now, settings)
    return OrderChanged(order, what, technician, shown, lost_by)


def technician_changed(
    book: Book, technician: Technician, what: str, now: float, settings: RatingSettings
) -> TechnicianChanged:
    """Tell of a technician."""
    return TechnicianChanged(technician, rating_now(book, technician, now, settings), what)
