# `make help` lists every target. Nothing here pretends.

SHELL := /bin/bash
CARGO ?= cargo
KUBECTL ?= kubectl
STATIC := target/static
export RUST_BACKTRACE ?= 0
# What is built is looked for here, wherever else this user has Cargo build.
export CARGO_TARGET_DIR := $(CURDIR)/target

.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^(##@ |[a-z][a-z-]*:.*## )' $(MAKEFILE_LIST) | sed -E 's/^##@ (.*)/\n\1:/; s/^([a-z-]+):.*## /  \1\t/' | expand -t 20

##@ The two commands

.PHONY: demo
demo: PREPARE = --demo
demo: prepare static build ## The whole way through on a control plane and node of its own: apply, pod, agent, pushed commit; 90 seconds once built
	@target/debug/testbed demo

.PHONY: test
test: prepare static build release ## Every test; ends with what was skipped, and why; half an hour on 2 cores
	@tests/tools/run-tests.sh $(TESTARGS)

##@ Development

.PHONY: prepare
prepare: ## Install what tests and demo need, where that may be done (root on Debian)
	@tests/tools/prepare.sh $(PREPARE)

.PHONY: build
build: ## Build every program, and those that tests start
	@$(CARGO) build --locked --workspace --bins --examples

.PHONY: static
static: ## Build gt-runner as it goes into images: static, since it runs in any agent's image
	@mkdir -p $(STATIC)
	@$(CARGO) rustc --quiet --locked --bin gt-runner -- -C target-feature=+crt-static
	@cp target/debug/gt-runner $(STATIC)/

.PHONY: release
release: ## Build the operator as it is shipped
	@$(CARGO) build --locked --release --bin gastown-operator

.PHONY: run
run: ## Run the operator here, on the cluster of KUBECTL; WEBHOOK_URL=https://HOST:9443, where the API server reaches this machine, brings webhooks and v1alpha1
	@set -e; export GASTOWN_NAMESPACE="$${GASTOWN_NAMESPACE:-gastown-operator-system}"; \
	$(KUBECTL) get namespace "$$GASTOWN_NAMESPACE" >/dev/null 2>&1 || $(KUBECTL) create namespace "$$GASTOWN_NAMESPACE"; \
	runner="$${RELATED_IMAGE_RUNNER:-$(RUNNER_IMG)}"; \
	[ -n "$$runner" ] || runner="$$(TARGETS=runner deploy/images/build.sh names)"; \
	export RELATED_IMAGE_RUNNER="$$runner"; \
	$(if $(AGENT_IMG),export RELATED_IMAGE_AGENT="$(AGENT_IMG)";) \
	KUBECTL="$(KUBECTL)" exec deploy/run.sh $(CARGO) run --locked --bin gastown-operator -- --log-format=text \
	  $(if $(WEBHOOK_URL),--webhook-cert-source=own --webhook-url=$(WEBHOOK_URL),--disable-webhooks)

.PHONY: manifests
manifests: ## Write every generated file from src/kinds.rs
	@$(CARGO) run --quiet --locked --bin manifests

.PHONY: generate
generate: manifests ## The original's name for it

.PHONY: fmt
fmt: ## Format
	@$(CARGO) fmt --all

.PHONY: lint
lint: ## Formatting, clippy, documentation, generated files, dependencies
	@$(CARGO) fmt --all --check
	@$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@$(MAKE) --no-print-directory doc
	@$(CARGO) run --quiet --locked --bin manifests -- --check
	@tests/tools/deny.sh

.PHONY: lint-go
lint-go: ## The Go programs of tests and benches: gofmt, and golangci-lint or go vet
	@tests/tools/lint-go.sh

.PHONY: lint-yaml
lint-yaml: ## Every YAML file by yamllint
	@tests/tools/lint-yaml.sh

# What starts buildah wants privileges, which nobody gives to who lints; `make test` has those tests.
.PHONY: lint-pipeline
lint-pipeline: ## .gitlab-ci.yml and both Dockerfiles: schema, images, what jobs run
	@$(CARGO) test --quiet --locked --test it -- pipeline:: images:: --skip=real_ \
	  --skip=images::again:: --skip=images::agent:: --skip=images::archives:: --skip=images::both_editions_are_built_

.PHONY: junit
junit: ## A JUnit report of the last `make test`, in target/junit.xml
	@tests/tools/junit.sh target/test.log > target/junit.xml

.PHONY: coverage
coverage: ## How much of the library its unit tests run (cargo-llvm-cov), in target/cobertura.xml
	@$(CARGO) llvm-cov --locked --lib --no-report
	@$(CARGO) llvm-cov report --cobertura --output-path target/cobertura.xml
	@$(CARGO) llvm-cov report --summary-only

.PHONY: scan
scan: ## Licences, bans, sources and, with ADVISORY_DB=path, advisories
	@tests/tools/deny.sh

.PHONY: doc
doc: ## The crate's documentation, with src/ARCHITECTURE.md as its front page
	@RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --document-private-items

##@ Longer tests

.PHONY: test-rotation
test-rotation: prepare static build ## 100 forced rotations under 100,000 calls, whose callers lag up to a minute: half an hour
	@GASTOWN_REQUIRE=root ROTATIONS=100 ROTATION_CALLS=100000 ROTATION_LAG=60 $(CARGO) test --locked --test it -- no_call_fails --nocapture

N ?= 1000000
.PHONY: fuzz-conversion
fuzz-conversion: ## Hold the laws of conversion against N objects of each kind and direction
	@GASTOWN_LAWS=$(N) $(CARGO) test --locked --release --lib -- conversion::laws

.PHONY: test-fips
test-fips: ## The FIPS edition: built, what it links, its proof or refusal, its handshakes; needs CMake, Go and openssl; a quarter of an hour
	@tests/tools/test-fips.sh

.PHONY: test-faults
test-faults: prepare static build ## Every fault of replicas, network, clocks, API server and storage, as long as they last in the field, also beside PREVIOUS=commit; an hour
	@previous=$$(tests/tools/previous.sh $(PREVIOUS)) && set -o pipefail && \
	  GASTOWN_FAULTS=1 GASTOWN_REQUIRE=previous GASTOWN_PREVIOUS=$$previous $(CARGO) test --locked --test it -- \
	  --nocapture --test-threads=1 faults:: shards:: outage:: views:: 2>&1 | tee target/faults.log; code=$$?; \
	  tests/tools/margins.sh target/faults.log; exit $$code

.PHONY: demo-trace
demo-trace: prepare static build ## Runs on a real node as traces in a real Jaeger, the owner of two killed in the middle; builds Jaeger once, in ten minutes
	@jaeger=$$(tests/tools/jaeger.sh) && GASTOWN_REQUIRE=jaeger,node GASTOWN_JAEGER=$$jaeger \
	  $(CARGO) test --locked --test it -- --nocapture tracing::jaeger
	@echo "The waterfall of the last one: target/trace.html"

.PHONY: test-alerts
test-alerts: prepare build ## Each alert firing and not firing, and every query of dashboards, by Prometheus' own engine; builds it once, in a minute
	@promql=$$(tests/tools/promql.sh) && GASTOWN_REQUIRE=promql GASTOWN_PROMQL=$$promql \
	  $(CARGO) test --locked --test it -- --nocapture promql:: dashboards::

.PHONY: test-scc
test-scc: ## The table of OpenShift's constraints against OpenShift's own admission plugin; builds it once from its Go module, in minutes
	@scc=$$(tests/tools/scc.sh) && GASTOWN_REQUIRE=scc GASTOWN_SCC=$$scc $(CARGO) test --locked --test it -- --nocapture constraints::

.PHONY: test-bundle
test-bundle: ## Both bundles before operator-sdk, operator-verify and opm; builds those once from pinned Go modules, in a quarter of an hour
	@tests/tools/bundle-check.sh --build
	@opm=$$(tests/tools/go-tool.sh opm) && crane=$$(tests/tools/go-tool.sh crane) && \
	  GASTOWN_REQUIRE=opm,buildah GASTOWN_OPM=$$opm GASTOWN_CRANE=$$crane $(CARGO) test --locked --test it -- catalog:: release::

.PHONY: test-chart
test-chart: ## The chart's own tests, charts/gastown-operator/tests, by helm-unittest; builds that once from its Go module, in minutes
	@unittest=$$(tests/tools/go-tool.sh helm-unittest) && "$$unittest" --strict charts/gastown-operator

# OLM's own operator, and its definitions.
WITH_OLM = olm=$$(tests/tools/go-tool.sh olm) && \
	  from=$$(cd tests/tools/olm && go list -m -f '{{.Dir}}' github.com/operator-framework/operator-lifecycle-manager) && \
	  GASTOWN_OLM=$$olm GASTOWN_OLM_CRDS=$$from/deploy/chart/crds

.PHONY: test-olm
test-olm: prepare static build release ## OLM's own operator installs the bundle on the real node; builds it once from its Go module, in five minutes
	@$(WITH_OLM) GASTOWN_REQUIRE=olm,node,release $(CARGO) test --locked --test it -- --nocapture real_olm::

.PHONY: test-images
test-images: prepare static build release ## Both Dockerfiles built by buildah on this machine's own Debian, Enterprise's with what test-fips built, and deployed on the real node; five minutes
	@GASTOWN_BUILT=1 GASTOWN_REQUIRE=buildah,node,release$(BESIDES) $(CARGO) test --locked --test it -- --nocapture real_built::

.PHONY: test-network
test-network: prepare static build release ## NetworkPolicies enforced on the real node, by kube-router; needs iptables and ipset; builds that once from its Go module, in minutes
	@for it in iptables ipset; do PATH="$$PATH:/usr/sbin:/sbin" command -v $$it >/dev/null || { echo "test-network: install $$it"; exit 1; }; done
	@router=$$(tests/tools/go-tool.sh kube-router) && GASTOWN_REQUIRE=kube-router,node,release GASTOWN_KUBE_ROUTER=$$router \
	  $(CARGO) test --locked --test it -- --nocapture real_policies::

# The last release before what is checked out, also where that is one; or before the first: when admission was done; and for Helm the
# first with a chart.
LAST_RELEASE = $(shell git describe --tags --abbrev=0 --match '[0-9]*' HEAD^ 2>/dev/null)
PREVIOUS ?= $(or $(LAST_RELEASE),949e9b9)
PREVIOUS_CHART ?= $(or $(LAST_RELEASE),0b5f3c5)
.PHONY: test-upgrade
test-upgrade: prepare static build release ## Upgrade from PREVIOUS=commit and back under load on the real node, by make deploy, by one file, by Helm and by OLM; builds those once, in fifteen minutes
	@previous=$$(tests/tools/previous.sh $(PREVIOUS)) && chart=$$(tests/tools/previous.sh $(PREVIOUS_CHART)) && $(WITH_OLM) \
	  GASTOWN_REQUIRE=previous,node,release,helm,olm GASTOWN_PREVIOUS=$$previous GASTOWN_PREVIOUS_CHART=$$chart \
	  $(CARGO) test --locked --test it -- --nocapture --test-threads=1 real_upgrade:: an_older_version_beside

.PHONY: test-sign
test-sign: ## Sign, verify, and refuse what was changed, with a registry of its own; builds cosign once from its Go module, in six minutes
	@cosign=$$(tests/tools/go-tool.sh cosign) && crane=$$(tests/tools/go-tool.sh crane) && \
	  GASTOWN_REQUIRE=cosign,buildah,jq GASTOWN_COSIGN=$$cosign GASTOWN_CRANE=$$crane \
	  $(CARGO) test --locked --test it -- --nocapture signing::

.PHONY: test-full
test-full: prepare static build release ## Every test with the waits that users have, then each of these but rotations; two hours or more
	@GASTOWN_FULL=1 tests/tools/run-tests.sh $(TESTARGS)
	@$(MAKE) --no-print-directory test-faults
	@$(MAKE) --no-print-directory fuzz-conversion
	@$(MAKE) --no-print-directory test-fips
	@$(MAKE) --no-print-directory demo-trace
	@$(MAKE) --no-print-directory test-alerts
	@$(MAKE) --no-print-directory test-scc
	@$(MAKE) --no-print-directory test-bundle
	@$(MAKE) --no-print-directory test-chart
	@$(MAKE) --no-print-directory test-olm
	@$(MAKE) --no-print-directory test-sign
	@$(MAKE) --no-print-directory test-images BESIDES=,fips
	@$(MAKE) --no-print-directory test-upgrade
	@$(MAKE) --no-print-directory test-network
	@echo "Not in it: rotations (make test-rotation), and images on the bases of a registry (the pipeline)"

##@ Measuring

# A bench is built as a release is; the testbed that it starts is not.
BENCH = TESTBED_BIN=$(CURDIR)/target/debug/testbed $(CARGO) bench --locked

.PHONY: bench
bench: prepare build release ## Measure beside another operator: GO_ORIGINAL=program GO_ORIGINAL_CRDS=folder make bench; an hour or more, BENCHARGS="--scenario burst" for a part
	@$(BENCH) --bench polecats -- $(BENCHARGS)

.PHONY: bench-ha
bench-ha: prepare build release ## Measure crashes, hand-overs and what several replicas cost, beside client-go's leader election
	@$(BENCH) --bench ha -- $(BENCHARGS)

.PHONY: bench-telemetry
bench-telemetry: prepare build release ## Measure what traces cost: no endpoint, one run in a hundred, all of them, and a collector in trouble; half an hour
	@$(BENCH) --bench polecats -- --telemetry $(BENCHARGS); code=$$?; \
	  $(BENCH) --bench polecats -- --troubled $(BENCHARGS) && exit $$code

.PHONY: bench-conversion
bench-conversion: ## Measure conversion beside a Vec<Value> implementation: time, memory, one object
	@$(CARGO) bench --locked --bench conversion -- $(BENCHARGS)

.PHONY: bench-admission
bench-admission: prepare build release ## Measure reviews of pods beside kubernetes' own PodSecurity webhook: processor time, latency, memory
	@$(BENCH) --bench admission -- $(BENCHARGS)

.PHONY: bench-install
bench-install: prepare static build release ## Measure an installation: image, idle memory, start to ready, and by each road the time to the first Polecat; builds OLM once, in minutes
	@$(WITH_OLM) $(BENCH) --bench install -- $(BENCHARGS)

.PHONY: bench-testbed
bench-testbed: prepare build ## Measure how long a testbed takes to be ready, from programs that are built
	@$(BENCH) --bench testbed -- $(BENCHARGS)

##@ Images, with buildah: EDITION=community|enterprise IMG=operator PLATFORMS=linux/amd64,linux/arm64 (docs/images.md)

EDITION ?= community
export EDITION IMG RUNNER_IMG AGENT_IMG PLATFORMS BINARIES TARGETS DPR_REGISTRY BUILD_ARGS BUILDAH
export AGENT_NPM AGENT_PIP AGENT_BASE NPM_REGISTRY PIP_INDEX TOOLCHAIN_IMG DIST BUNDLE_IMG RELEASE
export COSIGN COSIGN_KEY COSIGN_PUB COSIGN_FLAGS PUSHED CATALOG_IMG OPM OPM_FLAGS HELM OCI OCI_FLAGS PLUGIN_URL PROJECT_URL

.PHONY: docker-build
docker-build: ## Build operator, runner and agent base of an edition
	@deploy/images/build.sh build

.PHONY: docker-push
docker-push: ## Push them
	@deploy/images/build.sh push

.PHONY: scan-images
scan-images: ## What certification asks of the images of an edition, of the images themselves
	@deploy/images/scan.sh

.PHONY: scan-bundle
scan-bundle: ## Hold the bundle that `make bundle` made to the rules of operator-sdk, operator-verify and opm
	@tests/tools/bundle-check.sh --build $(or $(RELEASE),target/dist)/bundle/$(EDITION)

.PHONY: release-check
release-check: ## That the tag is the version of Cargo.toml, and every image which a release stands on pinned to a digest
	@deploy/images/build.sh release-check
	@deploy/mirror/mirror-ci-images.sh --digests

.PHONY: mirror
mirror: ## Copy every image of the pipeline and of builds to DPR_REGISTRY (skopeo)
	@deploy/mirror/mirror-ci-images.sh

.PHONY: agent-image
agent-image: ## Add a pinned agent to the agent base: AGENT_NPM=package@version or AGENT_PIP=package==version
	@deploy/images/build.sh agent

.PHONY: toolchain-image
toolchain-image: ## Build what the jobs of .gitlab-ci.yml (community) or the Enterprise builder (enterprise) run in
	@deploy/images/build.sh toolchain

.PHONY: toolchain-push
toolchain-push: ## Push that image to where jobs and builds look for it
	@deploy/images/build.sh toolchain-push

.PHONY: bundle
bundle: ## The OLM bundle of an edition with IMG and RUNNER_IMG, by digest for a release, and its image BUNDLE_IMG
	@deploy/images/bundle.sh build

.PHONY: bundle-push
bundle-push: ## Push that image
	@deploy/images/bundle.sh push

.PHONY: catalog
catalog: ## The catalog of an edition with its releases, of BUNDLE_IMG as pushed, and its image CATALOG_IMG
	@deploy/images/catalog.sh build

.PHONY: catalog-push
catalog-push: ## Push that image
	@deploy/images/catalog.sh push

.PHONY: plugin
plugin: ## Pack kubectl-gt for Linux as RUNNER_IMG has it, into target/dist; with PLUGIN_URL also for krew
	@deploy/images/plugin.sh

.PHONY: bundle-check
bundle-check: ## Every rule for OLM bundles: our own tests, and operator-sdk, operator-verify and opm where they are
	@$(CARGO) test --quiet --locked --test it -- bundle::
	@tests/tools/bundle-check.sh

.PHONY: dist
dist: ## Build the programs of an edition for BINARIES=prebuilt, into target/dist
	@deploy/images/dist.sh

.PHONY: notices
notices: ## Write the licences of everything that is linked in, as images carry them
	@tests/tools/notices.sh target/dist/THIRD-PARTY-NOTICES

.PHONY: sbom
sbom: ## Write what is linked into the programs of an edition as SPDX, into target/dist
	@tests/tools/sbom.sh $(EDITION) $(or $(RELEASE),target/dist)/sbom-$(EDITION).spdx.json

.PHONY: sign
sign: ## Sign what was pushed of an edition, and the files in target/dist, by COSIGN_KEY=file (docs/images.md)
	@deploy/images/sign.sh sign

.PHONY: verify-release
verify-release: ## Verify images, their bills of materials and files of an edition by COSIGN_PUB=file
	@deploy/images/sign.sh verify

##@ On a cluster

.PHONY: install
install: manifests ## Apply the CRDs to the current kubeconfig, and with WEBHOOK_URL the webhooks for `make run`
	@KUBECTL="$(KUBECTL)" WEBHOOK_URL="$(WEBHOOK_URL)" deploy/install.sh

.PHONY: uninstall
uninstall: ## Delete the CRDs, and with them every object of theirs: asks first (CONFIRM=yes)
	@[ "$(CONFIRM)" = yes ] || { echo "this deletes every Polecat and Rig; say CONFIRM=yes"; exit 1; }
	@KUBECTL="$(KUBECTL)" deploy/uninstall.sh

.PHONY: deploy
deploy: manifests ## Install or upgrade in the current kubeconfig: EDITION=community|enterprise IMG=operator AGENT_IMG=agent
	@KUBECTL="$(KUBECTL)" EDITION="$(EDITION)" IMG="$(IMG)" RUNNER_IMG="$(RUNNER_IMG)" AGENT_IMG="$(AGENT_IMG)" deploy/deploy.sh

.PHONY: chart
chart: manifests ## Package the Helm chart into target/dist; with OCI=oci://registry.example.com/charts, push it there
	@deploy/images/chart.sh

.PHONY: undeploy
undeploy: ## Take the operator out again; definitions and objects stay
	@KUBECTL="$(KUBECTL)" deploy/undeploy.sh
