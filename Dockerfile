# The control plane. The library is the wheel; this image is what an operator runs. See docs/deploy.md.

FROM python:3.11-slim-bookworm AS packages
WORKDIR /build
COPY requirements.txt ./
# Wheels only: nothing is compiled, so neither stage needs a compiler.
RUN python -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.txt && \
    /opt/venv/bin/pip uninstall --yes --disable-pip-version-check setuptools pip

FROM python:3.11-slim-bookworm
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    DJANGO_SETTINGS_MODULE=tradpal_cb.settings \
    DATABASE_URL=sqlite:////var/lib/breakers/control-plane.sqlite3
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
COPY manage.py ./
COPY breakers ./breakers
COPY dashboard ./dashboard
COPY demo ./demo
COPY static ./static
COPY templates ./templates
COPY tradpal_cb ./tradpal_cb
# The key signs nothing here; without it Django starts no command.
RUN DJANGO_SECRET_KEY=unused python manage.py collectstatic --no-input --verbosity 0 && \
    python -m compileall -q . && \
    install -d -o 10001 -g 10001 /var/lib/breakers
USER 10001:10001
VOLUME /var/lib/breakers
EXPOSE 8012
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8012/health', timeout=4)"]
# Migrations are a command of their own, run once before new servers start: python manage.py migrate
CMD ["python", "manage.py", "serve", "--bind", "0.0.0.0", "--port", "8012"]
