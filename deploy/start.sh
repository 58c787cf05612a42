#!/usr/bin/env bash
# Starts tritonserver, hardened: the flags are those of export/serve.py (a test compares them), except that HTTP answers
# health and metadata only here. Settings come from the environment, secrets from files:
#
#   FACEPARAM_BACKEND   what runs the networks: onnxruntime or tensorrt             onnxruntime
#   FACEPARAM_MODELS    the model repository                                        /models; /engines for tensorrt
#   FACEPARAM_ADDRESS   where to listen                                             0.0.0.0
#   FACEPARAM_GRPC_PORT, FACEPARAM_HTTP_PORT, FACEPARAM_METRICS_PORT                8001, 8000, 8002
#   FACEPARAM_TLS       folder of tls.crt and tls.key, which turn on TLS for gRPC;  /tls
#                       with client-ca.crt, clients must show a certificate that it signed
#   FACEPARAM_SECRETS   folder of admin-key, which opens the restricted protocols   /run/secrets/faceparam
#                       to whoever sends it; without the file nobody knows the key
set -euo pipefail

die() {
    echo "start.sh: $*" >&2
    exit 2
}

# Whether a file is there; one that is there but cannot be read must not pass for none.
given() {
    [[ -e $1 ]] || return 1
    [[ -r $1 && -s $1 ]] || die "$1 is empty, or user $(id -u) may not read it"
}

backend=${FACEPARAM_BACKEND:-onnxruntime}
address=${FACEPARAM_ADDRESS:-0.0.0.0}
tls=${FACEPARAM_TLS:-/tls}
secrets=${FACEPARAM_SECRETS:-/run/secrets/faceparam}
for folder in "$tls" "$secrets"; do
    [[ ! -e $folder || -x $folder ]] || die "user $(id -u) may not look into $folder"
done
key_file=$secrets/admin-key

backend_flags=()
case $backend in
    onnxruntime) models=${FACEPARAM_MODELS:-/models} ;;
    tensorrt)
        models=${FACEPARAM_MODELS:-/engines}
        backend_flags=(--model-config-name=tensorrt)
        ;;
    *) die "FACEPARAM_BACKEND must be onnxruntime or tensorrt, not '$backend'" ;;
esac
[[ $models != *" "* ]] || die "Triton cannot serve from a path with spaces: $models"
hint=
[[ $backend == tensorrt ]] && hint="; build the plans on this kind of GPU first (deploy/README.md)"
[[ -r $models/schema.json ]] || die "there is no model repository in $models$hint"
if [[ $backend == tensorrt ]]; then
    for config in "$models"/*/configs/tensorrt.pbtxt; do
        network=${config%/configs/tensorrt.pbtxt}
        compgen -G "$network/*/model.plan" >/dev/null || die "$network has no model.plan$hint"
    done
fi

if given "$key_file"; then
    key=$(<"$key_file")
    # The flag's syntax knows no quotes, and what is short can be guessed.
    [[ $key =~ ^[A-Za-z0-9_-]{16,}$ ]] || die "$key_file must hold 16 or more letters, digits, - and _ (openssl rand -hex 32)"
else
    key=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
fi

tls_flags=()
security="no TLS"
if given "$tls/tls.crt" && given "$tls/tls.key"; then
    tls_flags=(--grpc-use-ssl=true "--grpc-server-cert=$tls/tls.crt" "--grpc-server-key=$tls/tls.key")
    security="TLS"
elif [[ -e $tls/tls.crt || -e $tls/tls.key ]]; then
    die "$tls/tls.crt and $tls/tls.key belong together: one is missing"
fi
if given "$tls/client-ca.crt"; then
    ((${#tls_flags[@]})) || die "$tls/client-ca.crt needs $tls/tls.crt and $tls/tls.key"
    tls_flags+=(--grpc-use-ssl-mutual=true "--grpc-root-cert=$tls/client-ca.crt")
    security="TLS, with client certificates"
fi

# As in export/triton_environment.py: memory of pictures is used again.
export MALLOC_MMAP_THRESHOLD_=268435456 MALLOC_TRIM_THRESHOLD_=1073741824
restricted=shared-memory,model-config,model-repository,statistics,trace,logging
echo "start.sh: $models by $backend; gRPC: $security" >&2
exec tritonserver \
    --model-repository="$models" \
    "${backend_flags[@]}" \
    --disable-auto-complete-config \
    --model-control-mode=none \
    --strict-readiness=true \
    --exit-on-error=true \
    --exit-timeout-secs=15 \
    --grpc-address="$address" --grpc-port="${FACEPARAM_GRPC_PORT:-8001}" \
    --http-address="$address" --http-port="${FACEPARAM_HTTP_PORT:-8000}" \
    --metrics-address="$address" --metrics-port="${FACEPARAM_METRICS_PORT:-8002}" \
    --grpc-restricted-protocol="$restricted:faceparam-admin=$key" \
    --http-restricted-api="$restricted,inference:faceparam-admin=$key" \
    "${tls_flags[@]}"
