# Redis for the container test, where its official image cannot be fetched: Debian's, as the official image runs it.
ARG BASE=docker.io/library/debian:bookworm-slim

FROM ${BASE}
RUN groupadd --gid 999 redis && useradd --uid 999 --gid 999 --no-create-home redis \
 && apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends redis-server \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
 && install -d -o redis -g redis /data
WORKDIR /data
USER 999:999
EXPOSE 6379
VOLUME ["/data"]
CMD ["redis-server"]
