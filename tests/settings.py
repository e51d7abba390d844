"""The server's own settings, with what tests need: no secret, a fast password hash, a SQLite file in memory."""

import os

os.environ.setdefault("DJANGO_DEBUG", "1")

from tradpal_cb.settings import *  # noqa: F403  # the environment comes first

DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
WHITENOISE_AUTOREFRESH = True  # looks files up when asked: no warning that nobody ran collectstatic
CIRCUIT_BREAKER_KEY_RATE = CIRCUIT_BREAKER_USER_RATE = CIRCUIT_BREAKER_ANONYMOUS_RATE = 1e6  # tests of it set it lower
