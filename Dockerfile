# The relay in a container: built in one stage, run in another, as a user who owns nothing but the
# spool. There is no shell script, and nothing is written but to the spool and /run/ses-relay:
#   docker build -t ses-relay .
#   docker run --read-only --tmpfs /run/ses-relay:uid=65532,gid=65532,mode=0750 \
#     -v spool:/var/lib/ses-relay -v ./relay.yaml:/etc/ses-relay/relay.yaml:ro ses-relay
# Stop it with the time it needs: docker stop --time 190. config/compose.yaml has all of it.
FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS build
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
RUN python -m venv /opt/relay \
 && /opt/relay/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY relay ./relay
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/relay/bin/pip install --no-cache-dir --no-deps /dist/*.whl \
 && /opt/relay/bin/relay version

FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
ARG VERSION=dev
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="ses-relay" \
      org.opencontainers.image.description="An SMTP server for legacy applications that hands their mail to Amazon SES" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.documentation="docs/operations.md" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim-bookworm" \
      org.opencontainers.image.base.digest="sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"
RUN groupadd --system --gid 65532 relay \
 && useradd --system --uid 65532 --gid relay --home-dir /var/lib/ses-relay --shell /usr/sbin/nologin relay \
 && install -d -o relay -g relay -m 0750 /var/lib/ses-relay /run/ses-relay
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
VOLUME ["/var/lib/ses-relay"]
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s CMD ["relay", "health"]
ENTRYPOINT ["relay"]
CMD ["serve", "--config", "/etc/ses-relay/relay.yaml"]
