# LayoutLoop's images: `--target torchserve`, `shim` or `trainer`; docker-compose.yml builds all three.
#
#   docker build --target shim -t layoutloop-shim .
#   docker build --target trainer --build-arg TORCH_INDEX=https://pypi.org/simple -t layoutloop-trainer-cuda .
#
# A package index of your own comes as a secret, so that its address and password stay out of the image:
#   docker build --secret id=pip.conf,src=$HOME/.config/pip/pip.conf ...
#
# Python packages are pinned, each with all it pulls in. Debian's are those of its release on the day of the build, with
# all security updates till then; the base is named by its tag for the same reason. For the same base every time name its
# digest, which `docker buildx imagetools inspect debian:bookworm-slim` says:
#   docker build --build-arg BASE=docker.io/library/debian@sha256:... --target shim ...
ARG BASE=docker.io/library/debian:bookworm-slim

# What every image stands on: Debian 12 with its Python 3.11, and one user who owns nothing but the folders of state.
# tini is process 1: TorchServe's workers outlive their parents, and process 1 must reap them.
FROM ${BASE} AS python
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 tini \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
 && groupadd --gid 10001 layoutloop \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/layoutloop --shell /usr/sbin/nologin layoutloop \
 && install -d -o layoutloop -g layoutloop -m 0700 \
      /var/lib/layoutloop /var/lib/layoutloop-models /var/cache/layoutloop
# Nothing is written beside the code: the root file system may be read-only.
ENV PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONNOUSERSITE=1 \
    MALLOC_ARENA_MAX=2 \
    LAYOUTLOOP_HOME=/var/lib/layoutloop \
    MODEL_DIR=/var/lib/layoutloop-models
WORKDIR /opt/layoutloop
LABEL org.opencontainers.image.title="LayoutLoop" \
      org.opencontainers.image.description="Label Studio pre-labelling with LayoutLMv3 on TorchServe, learning from corrections" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

# The code, compiled once here. It comes last in every image, so that a change of it moves a few hundred kilobytes.
FROM python AS code
COPY config.properties ./
COPY deploy/torchserve deploy/torchserve
COPY handler handler
COPY layoutloop layoutloop
COPY shim shim
COPY rollout rollout
COPY training training
COPY node node
COPY scripts scripts
COPY demo demo
# Files of a checkout have whatever mode its owner's umask gave them.
RUN chmod -R a+rX,go-w . && python3 -m compileall -q --invalidation-mode unchecked-hash .

# Virtual environments are made here: pip, its cache and the package lists stay behind.
FROM python AS packages
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
# pip lives in an environment of its own, so that the ones that travel have no installer in them.
RUN python3 -m venv /opt/pip && python3 -m venv --without-pip /opt/venv
ENV PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USE_PEP517=1 \
    PIP="/opt/pip/bin/pip --python /opt/venv/bin/python"
# What installs is pinned as well: a venv has the pip that its Debian had.
COPY requirements/pip.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/pip/bin/pip install --no-deps -r requirements/pip.txt

FROM packages AS shim-packages
COPY requirements/shim.txt requirements/
# The lists are complete, so pip is to add nothing to them, and `pip check` says if one is not.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    ${PIP} install --no-deps -r requirements/shim.txt && ${PIP} check
# `s3`: MODEL_DIR may be a bucket. A step of its own, since its driver wants an older package in place of another.
ARG MODEL_STORE=folder
COPY requirements/s3.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    if [ "${MODEL_STORE}" = s3 ]; then ${PIP} install --no-deps -r requirements/s3.txt && ${PIP} check; fi

FROM packages AS model-packages
# Only torch comes from here: https://pypi.org/simple has the CUDA build. Empty: from wherever pip is told to look.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements/serve.txt requirements/torch.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    ${PIP} install --no-deps -r requirements/serve.txt \
 && ${PIP} install ${TORCH_INDEX:+--index-url "${TORCH_INDEX}"} -r requirements/torch.txt \
 && ${PIP} check
ARG MODEL_STORE=folder
COPY requirements/s3.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    if [ "${MODEL_STORE}" = s3 ]; then ${PIP} install --no-deps -r requirements/s3.txt && ${PIP} check; fi

# What engine rapidocr reads with. `gpu` for LAYOUTLOOP_OCR_DEVICE=gpu, beside a CUDA build of torch, whose libraries it uses.
FROM packages AS reader
ARG OCR_DEVICE=cpu
COPY requirements/reader.txt requirements/reader-gpu.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    ${PIP} install --no-deps -r requirements/reader.txt \
 && if [ "${OCR_DEVICE}" = gpu ]; then ${PIP} install --no-deps -r requirements/reader-gpu.txt ; fi

FROM packages AS encoder
COPY requirements/encoder.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    ${PIP} install --no-deps -r requirements/encoder.txt

# What Label Studio talks to. No torch, no Java, no Tesseract.
FROM python AS shim
COPY --from=shim-packages /opt/venv /opt/venv
# Of the handler what stands at its top: the nouns and the wire.
COPY --from=code /opt/layoutloop/handler/*.py handler/
COPY --from=code /opt/layoutloop/layoutloop layoutloop
COPY --from=code /opt/layoutloop/shim shim
USER 10001:10001
EXPOSE 9090
VOLUME ["/var/lib/layoutloop", "/var/lib/layoutloop-models"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f\"http://127.0.0.1:{os.environ.get('LAYOUTLOOP_PORT') or 9090}/health\", timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "shim"]

# Torch and all that TorchServe and training import: one layer that both images share.
FROM python AS models
COPY --from=model-packages /opt/venv /opt/venv

# TorchServe and the rollout watcher beside it.
FROM models AS torchserve
COPY --from=reader /opt/venv/lib /opt/venv/lib
# Tesseract's languages, as Debian names them: "eng deu fra".
ARG OCR_LANGUAGES=eng
# Java's package links its manual page, for which a slim image has no folder.
RUN mkdir -p /usr/share/man/man1 \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      openjdk-17-jre-headless tesseract-ocr $(printf 'tesseract-ocr-%s ' ${OCR_LANGUAGES}) \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
      /var/log/alternatives.log
COPY --from=code /opt/layoutloop/config.properties ./
COPY --from=code /opt/layoutloop/deploy deploy
COPY --from=code /opt/layoutloop/handler handler
COPY --from=code /opt/layoutloop/layoutloop layoutloop
COPY --from=code /opt/layoutloop/rollout rollout
COPY --from=code /opt/layoutloop/training training
COPY --from=code /opt/layoutloop/node node
COPY --from=code /opt/layoutloop/scripts scripts
ENV LAYOUTLOOP_CACHE_DIR=/var/cache/layoutloop
USER 10001:10001
# Inference and metrics. Management (7081) never leaves loopback.
EXPOSE 7080 7082
VOLUME ["/var/lib/layoutloop", "/var/lib/layoutloop-models", "/var/cache/layoutloop"]
# The first start reads every archive in service; a large model takes its time.
HEALTHCHECK --interval=15s --timeout=10s --start-period=120s --retries=4 CMD ["python", "-m", "scripts.rollout", "--ready"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "scripts.serve", "--parts", "torchserve,rollout"]

# The worker that trains, and the commands a person types. It reads pages through TorchServe, so it needs no Tesseract.
FROM models AS trainer
# The folder in it is named after the Python of BASE, which made all environments: the packages land beside torch.
COPY --from=reader /opt/venv/lib /opt/venv/lib
COPY --from=encoder /opt/venv/lib /opt/venv/lib
COPY --from=code /opt/layoutloop/config.properties ./
COPY --from=code /opt/layoutloop/handler handler
COPY --from=code /opt/layoutloop/layoutloop layoutloop
COPY --from=code /opt/layoutloop/rollout rollout
COPY --from=code /opt/layoutloop/training training
COPY --from=code /opt/layoutloop/node node
COPY --from=code /opt/layoutloop/scripts scripts
COPY --from=code /opt/layoutloop/demo demo
# Bases by their hub name are kept with the state, not in memory.
ENV HF_HOME=/var/lib/layoutloop/huggingface MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
VOLUME ["/var/lib/layoutloop", "/var/lib/layoutloop-models"]
# The worker touches this file every five seconds, with a job and without: one that hangs does not.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=4 \
  CMD ["sh", "-c", "test -n \"$(find \"$LAYOUTLOOP_HOME/worker.alive\" -mmin -1)\""]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "scripts.worker"]
