"""Alerts told to people: by webhook, and by everything that apprise knows."""

from .notifier import notifier

__all__ = ["notifier"]
