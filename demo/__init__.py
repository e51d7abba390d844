"""A flaky HTTP service, and a small fleet of services that call it for real. ``python -m demo --help``."""
