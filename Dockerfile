# check=error=true

# One recipe for the three services. What runs during the build runs on the machine that builds, so another
# architecture needs no emulation: the published stages hold no RUN.

# The one image that is pulled; a mirror's name, or a digest, may stand here instead.
ARG BASE=python:3.13-slim-trixie

# --- the builder's tools
FROM --platform=$BUILDPLATFORM ${BASE} AS tools
ARG UV_VERSION=0.13.9
ENV UV_CACHE_DIR=/var/cache/uv \
    UV_LINK_MODE=copy \
    UV_NO_INSTALLER_METADATA=1 \
    UV_PYTHON=python3.13 \
    UV_PYTHON_DOWNLOADS=never
WORKDIR /src
# `ca` is a certificate that a company's proxy signs with; without the secret nothing changes.
RUN --mount=type=cache,target=/root/.cache/pip,sharing=locked \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem; fi; \
    python3 -m pip install --quiet --no-compile --no-deps --root-user-action=ignore \
        --target /opt/uv "uv==${UV_VERSION}" \
    && ln -s /opt/uv/bin/uv /usr/local/bin/uv
# Files without a time of their own make the same layers in every build.
RUN printf '#!/bin/sh\nexec find "$1" -exec touch -h -d @0 {} +\n' > /usr/local/bin/untimed \
    && chmod +x /usr/local/bin/untimed

# --- files of no architecture: the standard library's bytecode, the account, the data folder (its files get the group 0,
#     which an arbitrary user id that a platform chooses has as well, and only who is in it gets in); our own code,
#     what the services share apart from the service, so that a change of one is a small layer
FROM tools AS neutral
COPY docker/precompile.py /tmp/
RUN python3 -B /tmp/precompile.py /rootfs \
    && install -d /rootfs/etc && install -d -o 1000 -g 0 -m 2770 /rootfs/data \
    && { cat /etc/passwd; echo 'app:x:1000:1000::/tmp:/usr/sbin/nologin'; } > /rootfs/etc/passwd \
    && { cat /etc/group; echo 'app:x:1000:'; } > /rootfs/etc/group \
    && untimed /rootfs

FROM tools AS kit
COPY --chmod=u=rwX,go=rX service_kit /rootfs/opt/app/service_kit
RUN untimed /rootfs

# What the CRM mounts.
FROM tools AS console
COPY --chmod=u=rwX,go=rX console /rootfs/opt/app/console
RUN untimed /rootfs

FROM tools AS service
ARG SERVICE=crm_api
COPY --chmod=u=rwX,go=rX ${SERVICE} /rootfs/opt/app/${SERVICE}
RUN untimed /rootfs

# --- locked wheels for the target: chosen by their tags, read by the ELF check, never executed
FROM ${BASE} AS target
FROM tools AS installer
ENV PYC_INVALIDATION_MODE=UNCHECKED_HASH \
    UV_COMPILE_BYTECODE=1
COPY --chmod=755 docker/install_locked.sh /usr/local/bin/install_locked

# What all services need: one layer of the same digest in every image.
FROM installer AS shared_wheels
ARG TARGETARCH
RUN --mount=type=cache,target=/var/cache/uv \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    --mount=type=bind,source=requirements/service_kit.txt,target=requirements/service_kit.txt \
    --mount=type=bind,source=docker,target=docker \
    --mount=type=bind,from=target,target=/target \
    install_locked "$TARGETARCH" service_kit \
    && untimed /rootfs

# What the service needs besides.
FROM installer AS wheels
ARG SERVICE=crm_api
ARG LOCK=${SERVICE}
ARG TARGETARCH
# The architecture of the place that the image is for, where there is but one.
ARG ONLY=${TARGETARCH}
RUN --mount=type=cache,target=/var/cache/uv \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    --mount=type=bind,source=requirements,target=requirements \
    --mount=type=bind,source=docker,target=docker \
    --mount=type=bind,from=target,target=/target \
    if [ "$TARGETARCH" != "$ONLY" ]; then \
        echo "This image is for a place that runs $ONLY; on $TARGETARCH it would end with exec format error." >&2; \
        exit 1; \
    fi; \
    install_locked "$TARGETARCH" "$LOCK" service_kit \
    && untimed /rootfs

# --- what the published images share; no RUN from here to the dev stage
FROM ${BASE} AS runtime
COPY --link --from=neutral /rootfs/ /
COPY --link --from=shared_wheels /rootfs/ /
COPY --link --from=wheels /rootfs/ /
COPY --link --from=kit /rootfs/ /
COPY --link --from=service /rootfs/ /
ARG SERVICE=crm_api
# The working directory is no place to import from, and the default database is data/… below it: in the folder for a
# volume, which a service misses at its start.
ENV DATA_FOLDER=/data \
    HOME=/tmp \
    HOST=0.0.0.0 \
    PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/app \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1
WORKDIR /
USER 1000:1000
ARG VERSION=0.4.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="crmsys ${SERVICE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"

# --- built for the machine it runs on, for work and tests; never published
FROM tools AS dev
ENV HOME=/tmp \
    HOST=0.0.0.0 \
    PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
RUN --mount=type=cache,target=/var/cache/uv \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    --mount=type=bind,source=requirements,target=requirements \
    if [ -s /run/ca.pem ]; then export SSL_CERT_FILE=/run/ca.pem; fi; \
    uv venv --quiet /opt/venv \
    && uv pip install --quiet --compile-bytecode --python /opt/venv --require-hashes --no-deps \
        -r requirements/dev.txt
COPY --from=neutral /rootfs/ /
WORKDIR /code
COPY --chown=1000:1000 . .
# The default database is data/… below the working directory.
RUN chown 1000:1000 . && ln -s /data data
USER 1000:1000

# --- the published images; the last, which a plain `docker build .` makes, is the CRM's. A start may have a
#     large database to migrate, and takes no requests meanwhile.
FROM runtime AS inventory_api
EXPOSE 8001
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m --start-interval=1s --retries=3 \
    CMD ["python", "-m", "inventory_api", "healthcheck"]
CMD ["python", "-m", "inventory_api", "serve"]

FROM runtime AS integration_service
EXPOSE 8002
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m --start-interval=1s --retries=3 \
    CMD ["python", "-m", "integration_service", "healthcheck"]
CMD ["python", "-m", "integration_service", "serve"]

# AWS Lambda calls no port and looks at no health check; `docker run` of this stage needs its Runtime API.
FROM runtime AS lambda
COPY --link --from=console /rootfs/ /
ARG SERVICE=crm_api
ENV SERVICE=${SERVICE}
CMD ["python", "-m", "awslambdaric", "service_kit.web.aws_lambda.answer"]

FROM runtime AS crm_api
COPY --link --from=console /rootfs/ /
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=15m --start-interval=1s --retries=3 \
    CMD ["python", "-m", "crm_api", "healthcheck"]
CMD ["python", "-m", "crm_api", "serve"]
