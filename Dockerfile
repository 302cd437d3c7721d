# All role binaries in one small image; the command chooses the role.
FROM rust:1-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked -p agent -p coordinator -p sweeper -p lifecyclectl \
 && mkdir /out && cp target/release/agent target/release/coordinator target/release/sweeper target/release/lifecyclectl /out/

FROM debian:bookworm-slim
RUN useradd --system --uid 10001 --no-create-home lifecycle
COPY --from=build /out/ /usr/local/bin/
USER lifecycle
WORKDIR /tmp
ENTRYPOINT []
CMD ["sweeper", "run"]
