"""Words that every part of Doorstep shares: ids, errors, clock, bus, outbox. Standard library only."""
