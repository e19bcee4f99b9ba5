# Perdure and the examples, slim and without root: `docker build -t perdure .`
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md ./
COPY schemas schemas
COPY topics topics
COPY actors actors
COPY views views
COPY sdk sdk
RUN python -m venv /opt/perdure \
 && /opt/perdure/bin/pip install --no-cache-dir '.[insights,telemetry,zstd,encryption,storage]'

FROM python:3.13-slim
# Tables are a cache of the log: a volume there saves time and nothing else.
RUN useradd --system --uid 10001 --home-dir /var/lib/perdure --create-home perdure
COPY --from=build /opt/perdure /opt/perdure
COPY examples /app/examples
ENV PATH=/opt/perdure/bin:$PATH \
    PERDURE_STATE_DIR=/var/lib/perdure \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 10001
VOLUME /var/lib/perdure
# SIGTERM lets activities finish and gives partitions away; give it 30 s.
STOPSIGNAL SIGTERM
ENTRYPOINT ["perdure"]
CMD ["--help"]
