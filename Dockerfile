# All role binaries in one small image; the command chooses the role. Any builder builds it: BuildKit is not needed.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Function names stay, so that a backtrace can be read.
ENV CARGO_PROFILE_RELEASE_STRIP=debuginfo

# The dependencies first, against packages of ours that are still empty: this layer is built again only when a manifest
# changes. A new package needs a line here.
COPY Cargo.toml Cargo.lock ./
COPY crates/agent/Cargo.toml crates/agent/
COPY crates/agent-sdk/Cargo.toml crates/agent-sdk/
COPY crates/coordinator/Cargo.toml crates/coordinator/
COPY crates/leak-lab/Cargo.toml crates/leak-lab/
COPY crates/lifecycle-cli/Cargo.toml crates/lifecycle-cli/
COPY crates/lifecycle-core/Cargo.toml crates/lifecycle-core/
COPY crates/lifecycle-redis/Cargo.toml crates/lifecycle-redis/
COPY crates/lifecyclectl/Cargo.toml crates/lifecyclectl/
COPY crates/sweeper/Cargo.toml crates/sweeper/
COPY tests/Cargo.toml tests/
COPY tests/bench/Cargo.toml tests/bench/
COPY tests/trials/Cargo.toml tests/trials/
COPY xtask/Cargo.toml xtask/
RUN for package in crates/* tests tests/bench tests/trials xtask; do \
        mkdir -p "$package/src" && touch "$package/src/lib.rs" && echo 'fn main() {}' > "$package/src/main.rs"; \
    done \
 && mkdir -p tests/tests/integration tests/bench/costs \
 && touch tests/tests/integration/main.rs tests/bench/costs/main.rs \
 && cargo build --release --locked -p agent -p coordinator -p sweeper -p lifecyclectl \
 && rm -r crates/*/src

# Sources are often older than what was just built; cargo goes by the time of a file.
COPY crates crates
RUN find crates -name '*.rs' -exec touch {} + \
 && cargo build --release --locked -p agent -p coordinator -p sweeper -p lifecyclectl \
 && mkdir /out && cd target/release && cp agent coordinator sweeper lifecyclectl /out/

FROM debian:bookworm-slim
# Agents' tools want a user with a name and a home; /tmp is the one place that is writable in a read-only container.
RUN useradd --system --user-group --uid 10001 --home-dir /tmp --no-create-home lifecycle \
 && mkdir /runs && chown lifecycle:lifecycle /runs
COPY --from=build /out/ /usr/local/bin/
ENV LIFECYCLE_COORDINATOR__RUNS_DIR=/runs
# As a number, so that it can be seen not to be root.
USER 10001
WORKDIR /tmp
CMD ["sweeper", "run"]
