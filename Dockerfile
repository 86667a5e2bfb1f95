# The image is one static binary, which `make build` makes on the host: no base image, so building it needs no registry. `make image` does both.
FROM scratch

# An empty folder of the user's, so that a new volume that is mounted there is the user's too.
COPY --chown=65532:65532 bin/data /data
VOLUME /data
USER 65532:65532
# In a container, the container's network decides who reaches it.
ENV NDRING_DIR=/data NDRING_BIND=0.0.0.0
EXPOSE 7379 7380
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 CMD ["/ndring", "healthcheck"]
ENTRYPOINT ["/ndring"]

# What changes comes last: the rest is taken from the last build.
COPY bin/ndring /ndring
ARG VERSION=dev
LABEL org.opencontainers.image.title="ndring" \
      org.opencontainers.image.description="A distributed cache for NumPy arrays" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.source="https://github.com/ndring/ndring" \
      org.opencontainers.image.licenses="Apache-2.0"
