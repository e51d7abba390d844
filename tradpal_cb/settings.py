"""Settings of the control plane: driven by ``variables.py``; SQLite and in-process channels by default."""

from __future__ import annotations

import warnings
from datetime import timedelta
from pathlib import Path

from django.core.checks import register
from django.core.exceptions import ImproperlyConfigured

from tradpal_cb import logs, variables

BASE_DIR = Path(__file__).resolve().parent.parent
register(variables.misspelt)

DEBUG = variables.DEBUG.read()
SECRET_KEY = variables.SECRET_KEY.read("only-for-development" if DEBUG else "")
if not SECRET_KEY:
    raise ImproperlyConfigured("DJANGO_SECRET_KEY is required unless DJANGO_DEBUG=1")
ALLOWED_HOSTS = variables.ALLOWED_HOSTS.read()
CSRF_TRUSTED_ORIGINS = variables.TRUSTED_ORIGINS.read()

# --- our own -----------------------------------------------------------------------------------------------------
CIRCUIT_BREAKER_PUBLIC_READ = variables.PUBLIC_READ.read()
CIRCUIT_BREAKER_AUTO_REGISTER = variables.AUTO_REGISTER.read()
CIRCUIT_BREAKER_HISTORY_DAYS = variables.HISTORY_DAYS.read()
CIRCUIT_BREAKER_ENVIRONMENT = variables.ENVIRONMENT.read()
CIRCUIT_BREAKER_KEY_RATE = variables.KEY_RATE.read()
CIRCUIT_BREAKER_USER_RATE = variables.USER_RATE.read()
CIRCUIT_BREAKER_ANONYMOUS_RATE = variables.ANONYMOUS_RATE.read()
CIRCUIT_BREAKER_PROXIES = variables.PROXIES.read()
CIRCUIT_BREAKER_PUBLIC_URL = variables.PUBLIC_URL.read()
REDIS_URL = variables.REDIS.read()
CIRCUIT_BREAKER_EVENTS = bool(REDIS_URL) and variables.EVENTS.read()
CIRCUIT_BREAKER_EVENTS_LENGTH = variables.EVENTS_LENGTH.read()
CIRCUIT_BREAKER_EVENTS_MAX_AGE = variables.EVENTS_MAX_AGE.read()

# --- Django ------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "axes",
    "channels",
    "csp",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",  # the files of Swagger's page, so that it needs no CDN
    "django_prometheus",
    "breakers",
    "dashboard",
    "tradpal_cb",
]
MIDDLEWARE = [
    "tradpal_cb.requests.RequestIds",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "breakers.access.refusals.RefusalLog",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "tradpal_cb.urls"
ASGI_APPLICATION = "tradpal_cb.asgi.application"
APPEND_SLASH = False
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- data --------------------------------------------------------------------------------------------------------
DATABASES = {"default": variables.DATABASE.read(variables.database(f"sqlite:///{BASE_DIR / 'db.sqlite3'}"))}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # WAL and IMMEDIATE: readers never wait for a writer, and two writers queue where they would have failed.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 5,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
    # Requests come back to the same few threads. Not for ever: a file that is put back is seen after so many seconds.
    DATABASES["default"]["CONN_MAX_AGE"] = 5
else:
    # Some threads end with what they did, and their connections with them: only a pool keeps their number down.
    # Who gets none within seconds is told so: a database that is away must not hold up those who can do without.
    # What the URL asks for besides, as ?sslmode=require, stays.
    _connections = variables.POOL.read()
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 2,
        **DATABASES["default"].get("OPTIONS", {}),
        "pool": {"min_size": min(2, _connections), "max_size": _connections, "timeout": 2.0},
    }
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True  # one that did not survive the database's restart is replaced
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL]},
    }
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}

# --- people and keys ---------------------------------------------------------------------------------------------
LOGIN_URL = "dashboard:login"
LOGIN_REDIRECT_URL = "dashboard:overview"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
AUTHENTICATION_BACKENDS = [
    "breakers.access.sign_in.AttemptsBackend",
    "axes.backends.AxesStandaloneBackend",
    "breakers.access.people.People",
]
AXES_FAILURE_LIMIT = variables.SIGN_IN_ATTEMPTS.read()
AXES_COOLOFF_TIME = timedelta(minutes=variables.SIGN_IN_LOCK.read())
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]  # a name alone would let anybody lock anybody out
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "breakers.access.addresses.storable_network_of"
AXES_LOCKOUT_CALLABLE = "breakers.access.sign_in.locked_out"
AXES_HANDLER = "breakers.access.sign_in.Attempts"
AXES_DISABLE_ACCESS_LOG = True  # of successes; failures are kept to be counted
AXES_VERBOSE = False
SECURE = variables.SECURE.read()
"""Everything over HTTPS: cookies, redirects, HSTS. Off by default: a control plane on loopback has no certificate."""
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = variables.SSL_REDIRECT.read(SECURE)
SECURE_REDIRECT_EXEMPT = [r"^health$", r"^metrics$"]  # asked from inside, by what speaks plain HTTP
SECURE_HSTS_SECONDS = variables.HSTS_SECONDS.read(31_536_000 if SECURE else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
if CIRCUIT_BREAKER_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # the proxy must set it, whatever clients send
SESSION_ENGINE = "breakers.access.sessions"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_FAILURE_VIEW = "tradpal_cb.failures.stale_form"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DEFAULT_EXCEPTION_REPORTER = "tradpal_cb.discretion.Reporter"
DEFAULT_EXCEPTION_REPORTER_FILTER = "tradpal_cb.discretion.ReporterFilter"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    },
}
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "breakers.api.authentication.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["breakers.api.permissions.MayRead"],
    "DEFAULT_RENDERER_CLASSES": ["breakers.api.rendering.MemberByMember"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_THROTTLE_CLASSES": ["breakers.api.throttling.CallerThrottle"],
    "EXCEPTION_HANDLER": "breakers.api.errors.exception_handler",
    "DEFAULT_SCHEMA_CLASS": "breakers.api.openapi.inspector.FleetSchema",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "TradPal Circuit Breakers",
    "VERSION": "0.1.0",
    "OAS_VERSION": "3.1.0",
    "DEFAULT_GENERATOR_CLASS": "breakers.api.openapi.inspector.Document",
    "POSTPROCESSING_HOOKS": ["breakers.api.openapi.inspector.complete"],
    "ENABLE_DJANGO_DEPLOY_CHECK": False,  # a test makes the document and takes no warning
}

# --- static files, language, time, logs ---------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True  # pages work without collectstatic
warnings.filterwarnings("ignore", message="No directory at")  # WhiteNoise says so of a STATIC_ROOT not collected yet
LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False
FORMAT_MODULE_PATH = "tradpal_cb.formats"
DATA_UPLOAD_MAX_NUMBER_FIELDS = 5000  # the admin's actions send a field for each breaker that is ticked
LOGGING = logs.configuration(
    level=variables.LOG_LEVEL.read(), format=variables.LOG_FORMAT.read(), file=variables.LOG_FILE.read()
)
