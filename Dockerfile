# The Community images: operator, runner, agent. `make docker-build` builds all three; docs/images.md says how.
#
# Every base is an argument, and so is the command that installs packages; it takes away what says when that was, so that the same
# packages make the same layer. Tags are pinned to digests by deploy/mirror/ci-images.lock, from which deploy/images/build.sh
# fills the arguments.

ARG DPR_REGISTRY=dprusocplvjmp01.deepsky.lab:5000
ARG RUST_IMAGE=${DPR_REGISTRY}/ci-images/rust:1.95-bookworm
ARG GO_IMAGE=${DPR_REGISTRY}/ci-images/golang:1.26-bookworm
ARG OPERATOR_BASE=${DPR_REGISTRY}/ci-images/distroless-cc-debian12:nonroot
ARG RUNNER_BASE=${DPR_REGISTRY}/ci-images/debian:12-slim
ARG AGENT_BASE=${DPR_REGISTRY}/ci-images/debian:12-slim
# Where the programs come from: `built` builds them here, `prebuilt` takes what `make dist` has built.
ARG BINARIES=built

FROM ${RUST_IMAGE} AS built
WORKDIR /src
COPY . .
RUN make dist EDITION=community DIST=/out

FROM scratch AS prebuilt
ARG TARGETARCH=amd64
ARG DIST=target/dist/community
COPY ${DIST}/${TARGETARCH}/ /out/

FROM ${BINARIES} AS programs

# The operator; no shell, no package manager.
FROM ${OPERATOR_BASE} AS operator
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Gas Town operator" \
      org.opencontainers.image.description="Runs AI coding agents as disposable workers, and proves what they did" \
      org.opencontainers.image.vendor="Gas Town" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=programs /out/licenses/ /licenses/
COPY --from=programs /out/gastown-operator /usr/local/bin/gastown-operator
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/gastown-operator"]

# What git-init and telemetry run, and what brings gt-runner into every agent's container.
FROM ${RUNNER_BASE} AS runner
ARG INSTALL='apt-get update && apt-get install -y --no-install-recommends "$@" \
 && rm -rf /var/lib/apt/lists/* /var/log/apt/* /var/log/*.log /var/cache/ldconfig/aux-cache'
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Gas Town runner" \
      org.opencontainers.image.description="git, ssh and gt-runner: clones before an agent works, and pushes what it did" \
      org.opencontainers.image.vendor="Gas Town" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN sh -ec "$INSTALL" install ca-certificates git libnss-wrapper openssh-client \
 && echo "nonroot:x:65532:0:nonroot:/home/nonroot:/sbin/nologin" >> /etc/passwd \
 && mkdir -p /home/nonroot && chown 65532:0 /home/nonroot && chmod 0775 /home/nonroot
COPY --from=programs /out/licenses/ /licenses/
COPY --from=programs /out/gt-runner /usr/local/bin/gt-runner
# What `oc adm must-gather --image` runs: a report, with the tools of this image to fetch it by.
COPY --from=programs /out/kubectl-gt /usr/bin/gather
ENV HOME=/home/nonroot
WORKDIR /home/nonroot
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/gt-runner"]

# What an agent stands on: certificates, git, and a home that any user of group 0 can write. No vendor's program is in it:
# `make agent-image` adds one.
FROM ${AGENT_BASE} AS agent
ARG INSTALL='apt-get update && apt-get install -y --no-install-recommends "$@" \
 && rm -rf /var/lib/apt/lists/* /var/log/apt/* /var/log/*.log /var/cache/ldconfig/aux-cache'
ARG VERSION=0.0.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Gas Town agent base" \
      org.opencontainers.image.description="Certificates and git for an agent; the agent itself is added where it is used" \
      org.opencontainers.image.vendor="Gas Town" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN sh -ec "$INSTALL" install ca-certificates git \
 && echo "nonroot:x:65532:0:nonroot:/home/nonroot:/sbin/nologin" >> /etc/passwd \
 && mkdir -p /home/nonroot && chown 65532:0 /home/nonroot && chmod 0775 /home/nonroot
COPY LICENSE /licenses/LICENSE
ENV HOME=/home/nonroot
WORKDIR /home/nonroot
USER 65532:65532
CMD ["/bin/sh"]

# An agent from npm (AGENT_NPM=package@version) on an agent base with Node.js.
FROM agent AS agent-npm
ARG AGENT_NPM
ARG NPM_REGISTRY
USER 0
RUN test -n "$AGENT_NPM" \
 && npm install --global --no-fund --no-audit ${NPM_REGISTRY:+--registry="$NPM_REGISTRY"} "$AGENT_NPM" \
 && rm -rf "$HOME/.npm"
LABEL io.gastown.agent="npm:${AGENT_NPM}"
USER 65532:65532

# An agent from PyPI (AGENT_PIP=package==version) on an agent base with Python.
FROM agent AS agent-pip
ARG AGENT_PIP
ARG PIP_INDEX
USER 0
RUN test -n "$AGENT_PIP" \
 && pip install --no-cache-dir --no-input ${PIP_INDEX:+--index-url="$PIP_INDEX"} "$AGENT_PIP"
LABEL io.gastown.agent="pip:${AGENT_PIP}"
USER 65532:65532

# What the jobs of .gitlab-ci.yml run in: everything that `make lint test test-full` needs, so that no job installs anything. What
# tests/tools/prepare.sh looks for is all in it, and what longer tests demand besides, which tests/it/prepared.rs holds it to.
FROM ${GO_IMAGE} AS go
FROM ${RUST_IMAGE} AS toolchain
ARG INSTALL='apt-get update && apt-get install -y --no-install-recommends "$@" \
 && rm -rf /var/lib/apt/lists/* /var/log/apt/* /var/log/*.log /var/cache/ldconfig/aux-cache'
RUN sh -ec "$INSTALL" install binutils buildah busybox-static ca-certificates cmake containerd containernetworking-plugins \
      curl gcc git iproute2 ipset iptables jq libc6-dev libnss-wrapper make nftables nodejs openssh-client openssh-server openssl \
      perl python3 python3-pip python3-venv runc skopeo
COPY --from=go /usr/local/go/ /usr/local/go/
ENV PATH=/usr/local/cargo/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
ARG CARGO_TOOLS="cargo-about@0.9.3 cargo-deny@0.20.2 cargo-llvm-cov@0.6.21 cargo-nextest@0.9.114"
RUN rustup component add clippy llvm-tools rustfmt && cargo install --locked $CARGO_TOOLS && rm -rf /usr/local/cargo/registry
ARG PYTHON_TOOLS="check-jsonschema==0.39.0 spdx-tools==0.8.5 yamllint==1.38.0"
ARG PIP_INDEX
RUN pip install --break-system-packages --no-cache-dir ${PIP_INDEX:+--index-url="$PIP_INDEX"} $PYTHON_TOOLS
