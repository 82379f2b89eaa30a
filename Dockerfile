# The pipeline in a container: `market-data up` unless another command is given. docs/container.md says how to run it.
FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Every file is fetched against the lock's hashes; the install takes what it needs at run time out of them, off line.
COPY requirements.lock /build/
RUN pip download --quiet --require-hashes --only-binary :all: --dest /wheels -r /build/requirements.lock
COPY pyproject.toml README.md dagster.yaml /build/
COPY market_data_pipeline /build/market_data_pipeline
RUN python -m venv /opt/market-data \
 && /opt/market-data/bin/pip install --quiet --no-index -f /wheels "/build[celery,k8s,postgres,s3]"

FROM python:3.12-slim
COPY --from=build /opt/market-data /opt/market-data
# Writable for every user, so that `--user` can name the owner of a mounted folder.
RUN useradd --create-home --uid 1000 market-data \
 && install -d -o market-data -g market-data -m 1777 /app /app/logs /app/dagster /app/kubernetes /app/postgres /app/workers /data /data/MarketData
# Dagster homes for those who set DAGSTER_HOME to one of them; all else is in the data root or where they say.
COPY deploy/dagster.postgres.yaml /app/postgres/dagster.yaml
COPY deploy/dagster.celery.yaml /app/workers/dagster.yaml
COPY deploy/workspace.yaml /app/workers/workspace.yaml
ENV PATH=/opt/market-data/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MARKET_DATA_DIR=/data/MarketData \
    MARKET_TYPE=futures \
    SYMBOL=BTC/USDT \
    ALIGN_TZ=UTC \
    BUILD_COMBINED_ON_BACKFILL=0 \
    MANIFEST_WRITE_INTERVAL_SEC=300 \
    LOG_DIR=/app/logs \
    XDG_STATE_HOME=/data/MarketData/state
USER market-data
WORKDIR /app
VOLUME /data/MarketData
EXPOSE 8000 3000
# As Ctrl-C: every command ends cleanly on it, and as process 1 none would notice SIGTERM without a handler for it.
STOPSIGNAL SIGINT
# Asks `up`; a container that runs another command for long needs --no-healthcheck or a check of its own.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 CMD ["python", "-c", "\
import http.client, sys; api = http.client.HTTPConnection('127.0.0.1', 8000, timeout=25); \
api.request('GET', '/health'); answer = api.getresponse(); \
sys.exit(0 if answer.status == 200 else answer.read().decode())"]
CMD ["market-data", "up", "--host", "0.0.0.0"]
