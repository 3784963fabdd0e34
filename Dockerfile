# The same steps as tools/make_venv.sh, with the lock of what runs instead of the one for the workshop.
#   docker build -t doorstep .
#   docker run -p 8080:8080 -p 8081:8081 -v doorstep:/var/lib/doorstep --stop-timeout 60 \
#     -e DOORSTEP_JWT_SECRET="$(openssl rand -base64 48)" -e DOORSTEP_AUDIT_KEY="$(openssl rand -base64 48)" \
#     -e DOORSTEP__SAFETY__REACH__LAST_RESORT__LOG=true -e DOORSTEP__TRUSTED_PROXIES='[172.17.0.0/16]' doorstep
# Keep the secrets: tokens are made with one, the audit of safety is checked with the other. TLS ends in a proxy in front (docs/operations.md); without one declared the
# server refuses to listen to the world. Another config: -v "$PWD/config.yaml:/etc/doorstep/config.yaml:ro".
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/dev.lock requirements/dev.lock
# The build backend comes from the pinned lock as well.
RUN python -m venv /build \
    && grep -A 100 '^setuptools==' requirements/dev.lock \
       | awk 'NR > 1 && /^[a-z0-9]/ { exit } { print }' > setuptools.lock \
    && /build/bin/python -m pip install --no-cache-dir --require-hashes -r setuptools.lock
COPY . .
RUN /build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheels .

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    DOORSTEP__HTTP__HOST=0.0.0.0 DOORSTEP__HUB__HOST=0.0.0.0 DOORSTEP__DATA_FOLDER=/var/lib/doorstep
RUN useradd --system --create-home --home-dir /var/lib/doorstep doorstep
COPY requirements/run.lock /tmp/run.lock
RUN python -m pip install --no-cache-dir --require-hashes -r /tmp/run.lock && rm /tmp/run.lock
COPY --from=build /wheels /wheels
RUN python -m pip install --no-cache-dir --no-deps /wheels/*.whl && rm -r /wheels
# The config is the image's and the data the volume's: an upgrade brings its own keys.
COPY config.yaml /etc/doorstep/config.yaml
WORKDIR /etc/doorstep
USER doorstep
VOLUME /var/lib/doorstep
# HTTP and the hub; the admin listener (9090) stays on loopback.
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD \
    ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:9090/healthz', timeout=2)"]
ENTRYPOINT ["doorstep"]
CMD ["serve"]
