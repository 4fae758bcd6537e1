#!/usr/bin/env bash
# Applies an edition to the current kubeconfig with the images that are asked for, and waits until every replica is ready.
# Applied again, it upgrades: objects of users stay, and so do the Leases and the map.
#
#   EDITION       community or enterprise          (community)
#   IMG           the operator's image             (gastown-operator:VERSION, as the manifests have it)
#   RUNNER_IMG    git, ssh and gt-runner           (named after IMG as `make docker-build` does; else as the manifests have it)
#   AGENT_IMG     the agent where a Polecat names none (none: such a Polecat waits, and says so)
#   KUBECTL       kubectl, with its flags
#   TIMEOUT       how long to wait for the replicas (180s; 0s: not at all)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
edition=${EDITION:-community}
namespace=gastown-operator-system
deployment=gastown-operator-controller-manager
timeout=${TIMEOUT:-180s}

case $edition in
    community | enterprise) ;;
    *) echo "deploy: EDITION=$edition is no edition; write community or enterprise" >&2; exit 2 ;;
esac

overlay=$(mktemp -d "$here/.overlay.XXXXXX")
trap 'rm -rf "$overlay"' EXIT

# Quoted as JSON, so that nothing in a variable is read as YAML.
quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

[ -n "${RUNNER_IMG:-}" ] || [ -z "${IMG:-}" ] || RUNNER_IMG=$(TARGETS=runner EDITION=$edition IMG=$IMG "$here/images/build.sh" names)
env=()
[ -z "${RUNNER_IMG:-}" ] || env+=("{name: RELATED_IMAGE_RUNNER, value: $(quoted "$RUNNER_IMG")}")
[ -z "${AGENT_IMG:-}" ] || env+=("{name: RELATED_IMAGE_AGENT, value: $(quoted "$AGENT_IMG")}")
container="name: manager"
[ -z "${IMG:-}" ] || container+=", image: $(quoted "$IMG")"
[ ${#env[@]} -eq 0 ] || container+=", env: [$(IFS=,; echo "${env[*]}")]"

{
    echo "resources: [../$edition]"
    echo "patches:"
    echo "- patch: |-"
    echo "    apiVersion: apps/v1"
    echo "    kind: Deployment"
    echo "    metadata: {name: $deployment, namespace: $namespace}"
    echo "    spec: {template: {spec: {containers: [{$container}]}}}"
} >"$overlay/kustomization.yaml"

# What an operator that ran elsewhere has led to itself is led back.
KUBECTL=$kubectl WEBHOOK_URL='' "$here/lead.sh"

# Over definitions that nobody converts, as the Go original's are, first the replicas and then what asks them.
$kubectl kustomize "$overlay" | KUBECTL=$kubectl NAMESPACE=$namespace TIMEOUT=$timeout "$here/first.sh"

# Definitions first: their kinds have to be served before an object of theirs is applied.
$kubectl apply --server-side --force-conflicts -k "$here/../crds"
$kubectl wait --for=condition=Established --timeout=60s -f "$here/../crds" >/dev/null
$kubectl apply --server-side --force-conflicts -k "$overlay"

[ "$timeout" = 0s ] || $kubectl -n "$namespace" rollout status "deployment/$deployment" --timeout="$timeout"
