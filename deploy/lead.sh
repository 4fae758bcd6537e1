#!/usr/bin/env bash
# Leads the webhooks and conversions that are in the cluster to where what is applied next leads them: to the Service, or to
# WEBHOOK_URL. An operator that runs elsewhere (`make run` with WEBHOOK_URL) leads them to itself, and applied over that a Service
# would stand beside the address, which the API server refuses. Whom to trust stays as it is.
#
#   KUBECTL       kubectl, with its flags
#   WEBHOOK_URL   https://HOST:PORT, as make run has it (none: the Service)
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kubectl=${KUBECTL:-kubectl}
url=${WEBHOOK_URL:-}
namespace=gastown-operator-system
service=gastown-operator-webhook-service

# KIND/NAME, the pointer of a clientConfig, and its address, or the path of its Service.
config='{{if .url}}url {{.url}}{{else}}service {{with .service}}{{.path}}{{end}}{{end}}{{"\n"}}'
all='{{range .items}}{{$it := printf "%s/%s" .kind .metadata.name}}'
all+='{{with .spec}}{{with .conversion}}{{with .webhook}}{{with .clientConfig}}'
all+='{{$it}} /spec/conversion/webhook/clientConfig '$config'{{end}}{{end}}{{end}}{{end}}'
all+='{{range $at, $hook := .webhooks}}{{with $hook.clientConfig}}{{$it}} /webhooks/{{$at}}/clientConfig '$config'{{end}}{{end}}{{end}}'

files=(-f "$here/../crds")
for it in "$here"/../webhooks/*ating.yaml; do files+=(-f "$it"); done
found=$($kubectl get "${files[@]}" --ignore-not-found -o go-template="$all")
while read -r object at what value; do
    case $what:${url:+url} in
        url:) path=/${value#https://*/} to="service\", \"value\": {\"name\": \"$service\", \"namespace\": \"$namespace\", \"path\": \"$path\", \"port\": 443}" ;;
        service:url) to="url\", \"value\": \"$url$value\"" ;;
        *) continue ;;
    esac
    # Taken for exactly what was read.
    $kubectl patch "$object" --type=json </dev/null \
        -p "[{\"op\": \"remove\", \"path\": \"$at/$what\"}, {\"op\": \"add\", \"path\": \"$at/$to}]"
done <<<"$found"
