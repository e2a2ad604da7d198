#!/bin/sh
# What a container of these images runs: without arguments, or with options only, the part of the cluster that MODE
# names, with these options last; with anything else, sllm with these arguments. docs/containers.md has the variables.
set -eu

fail() {
    echo "error: $*" >&2
    exit 2
}

# HOST:PORT of the head; it may be written as a URL.
head_address() {
    address=${1#http://}
    echo "${address%/}"
}

case "${1:-}" in
'' | -*) ;;
sllm) exec "$@" ;;
health) exec health.py ;;
*) exec sllm "$@" ;;
esac

case "${MODE:-}" in
HEAD | GATEWAY | WORKER | PYLET_WORKER) ;;
'') fail "MODE is not set: set it to HEAD, GATEWAY, WORKER or PYLET_WORKER, or name a command of sllm" ;;
*) fail "MODE=$MODE is no part of a cluster: set it to HEAD, GATEWAY, WORKER or PYLET_WORKER" ;;
esac

if ! [ -w "$SLLM_DATA_DIR" ]; then
    fail "user $(id -u) of this container cannot write to $SLLM_DATA_DIR, where its state lives:" \
        "give that volume to the user (chown $(id -u)), or run the container as its owner (--user)"
fi

# Every option is put before those that are there, so that the container's own stay last, and win.

secret=${SLLM_CLUSTER_SECRET_FILE:-}
if [ -z "$secret" ] && [ -e /run/secrets/sllm_cluster_secret ]; then
    secret=/run/secrets/sllm_cluster_secret
fi
if [ -n "$secret" ]; then
    # The head's container makes the file at its first start, which may be under way.
    waits=${SECRET_TIMEOUT:-60}
    while ! [ -e "$secret" ]; do
        [ "$waits" -gt 0 ] || fail "there is no secret file $secret: is the head's data directory mounted there?"
        waits=$((waits - 1))
        sleep 1
    done
    set -- --secret-file "$secret" "$@"
fi

if [ -n "${NODE_IP:-}" ]; then
    set -- --advertise "$NODE_IP" "$@"
fi

if [ "$MODE" = WORKER ] || [ "$MODE" = PYLET_WORKER ]; then
    [ -n "${PYLET_HEAD:-}" ] || fail "MODE=$MODE needs the head's address: set PYLET_HEAD=HOST:8000"
    exec sllm worker --head "$(head_address "$PYLET_HEAD")" --gpus "${GPU_UNITS:-auto}" "$@"
fi

set -f # an origin may be *
for origin in $(echo "${ALLOWED_ORIGINS:-}" | tr ',' ' '); do
    set -- --cors-origin "$origin" "$@"
done
set -- --host "${HEAD_HOST:-0.0.0.0}" --port "${HEAD_PORT:-8343}" "$@"
if [ "$MODE" = HEAD ] && [ -z "${PYLET_ENDPOINT:-}" ]; then
    exec sllm head "$@"
fi
address=${PYLET_ENDPOINT:-${PYLET_HEAD:-}}
[ -n "$address" ] || fail "MODE=GATEWAY needs the head's address: set PYLET_HEAD=HOST:8000"
exec sllm gateway --head "$(head_address "$address")" "$@"
