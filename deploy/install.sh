#!/usr/bin/env bash
# Applies the definitions to the current kubeconfig, over whoever wrote them before, and waits until they are served; for an operator
# that runs elsewhere (`make run`) and that the API server reaches also the webhooks.
#
#   KUBECTL       kubectl, with its flags
#   WEBHOOK_URL   https://HOST:PORT, where the API server reaches that operator (none: nobody is asked but by the Service, and the
#                 webhooks are left as they are)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
url=${WEBHOOK_URL:-}
url=${url%/}
[[ -z $url || $url =~ ^https://[^/\"[:space:]]+$ ]] || {
    echo "install: WEBHOOK_URL=$url is not where a server is reached; write https://HOST:PORT, without a path" >&2
    exit 2
}

KUBECTL=$kubectl WEBHOOK_URL=$url "$here/lead.sh"

# Puts the address in the place of each Service.
led() {
    [ -n "$url" ] || { cat; return; }
    awk -v url="$url" '
        { match($0, /^ */); deep = RLENGTH }
        within && deep > within { if ($1 == "path:") printf "%surl: \"%s%s\"\n", pad, url, $2; next }
        { within = 0 }
        config && $1 == "service:" { within = deep; pad = substr($0, 1, deep); config = 0; next }
        { config = ($0 ~ /^ *clientConfig:$/); print }'
}

$kubectl kustomize "$here/../crds" | led | $kubectl apply --server-side --force-conflicts -f -
$kubectl wait --for=condition=Established --timeout=60s -f "$here/../crds" >/dev/null
[ -z "$url" ] || { cat "$here/../webhooks/mutating.yaml"; echo ---; cat "$here/../webhooks/validating.yaml"; } | led |
    $kubectl apply --server-side --force-conflicts -f -
