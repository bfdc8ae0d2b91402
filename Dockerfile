# The relay in a container: the wheel is built in one stage and runs in another, as a user who owns
# nothing but the spool. Build: docker build -t ses-relay .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
WORKDIR /src
COPY requirements-build.lock requirements.lock ./
RUN python -m venv /opt/relay \
 && /opt/relay/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && python -m venv /opt/build \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY relay ./relay
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/relay/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="ses-relay" \
      org.opencontainers.image.description="An SMTP server for legacy applications that hands their mail to Amazon SES" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --system --gid 65532 relay \
 && useradd --system --uid 65532 --gid relay --home-dir /var/lib/ses-relay --shell /usr/sbin/nologin relay \
 && install -d -o relay -g relay -m 0750 /var/lib/ses-relay /run/ses-relay
COPY --from=build /opt/relay /opt/relay
ENV PATH=/opt/relay/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
VOLUME ["/var/lib/ses-relay"]
ENTRYPOINT ["relay"]
CMD ["serve", "--config", "/etc/ses-relay/relay.yaml"]
