FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Every file is fetched against the lock's hashes; the install then takes what the project needs at run time out of them, off line.
COPY requirements.lock /build/
RUN pip download --quiet --require-hashes --only-binary :all: --dest /wheels -r /build/requirements.lock
COPY pyproject.toml README.md dagster.yaml /build/
COPY market_data_pipeline /build/market_data_pipeline
RUN python -m venv /opt/market-data \
 && /opt/market-data/bin/pip install --quiet --no-index -f /wheels /build

FROM python:3.12-slim
COPY --from=build /opt/market-data /opt/market-data
RUN useradd --create-home --uid 1000 market-data \
 && install -d -o market-data -g market-data /data /data/dagster
ENV PATH=/opt/market-data/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    MARKET_DATA_DIR=/data \
    DAGSTER_HOME=/data/dagster
USER market-data
WORKDIR /data
VOLUME /data
HEALTHCHECK --interval=60s --timeout=20s --start-period=60s --retries=3 CMD ["market-data", "health"]
ENTRYPOINT ["market-data"]
CMD ["--help"]
