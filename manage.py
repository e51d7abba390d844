#!/usr/bin/env python
"""Django's command line for the control plane."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tradpal_cb.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:  # its sentence says all that an operator can do about it
        sys.exit(str(error))
