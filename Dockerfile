# The service alone; its database is DATABASE_URL. compose.yaml runs both.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --release --package spacall && cp target/release/spacall /usr/local/bin/spacall

FROM debian:bookworm-slim
# ca-certificates: TLS to the database. postgresql-client: `spacall backup` and `spacall restore`.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --create-home --home-dir /var/lib/spacall --shell /usr/sbin/nologin spacall
COPY --from=build /usr/local/bin/spacall /usr/local/bin/spacall
USER spacall
WORKDIR /var/lib/spacall
ENV SPACALL_LISTEN=0.0.0.0:8080 SPACALL_LOG_FORMAT=json
EXPOSE 8080
# Alive, not ready: a node that waits for its database must not be killed for it.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '^HTTP/1.[01] 200' <&3"]
ENTRYPOINT ["spacall"]
CMD ["serve"]
