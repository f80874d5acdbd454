# Label Studio for the container test, where its official image cannot be fetched: the same package on the base of ours,
# with the same user, data folder and port. Not for use.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE} AS python
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/*

FROM python AS packages
RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
RUN python3 -m venv /opt/venv
COPY requirements/label-studio.txt requirements/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements/label-studio.txt

FROM python AS label-studio
COPY --from=packages /opt/venv /opt/venv
RUN install -d -o 1001 -g 0 -m 0770 /label-studio/data /opt/heartex/instance-data/etc
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin LABEL_STUDIO_BASE_DATA_DIR=/label-studio/data HOME=/label-studio
WORKDIR /label-studio
USER 1001:0
EXPOSE 8080
VOLUME ["/label-studio/data"]
CMD ["label-studio", "start", "--no-browser", "--internal-host", "0.0.0.0", "--port", "8080"]
