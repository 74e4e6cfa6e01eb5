#!/usr/bin/env bash
# Makes what the services and their callers know one another by: credentials.sh DIRECTORY HOSTNAME [CALLER ...]
# An authority, a certificate for every service (for HOSTNAME, its name among the containers and this machine), and a token
# for every service, for `operator` and for every CALLER, in DIRECTORY/NAME.token. DIRECTORY/tokens holds their digests
# alone. What is there already is kept, so it may be run again for another caller; a caller's line in `tokens` may be removed.
set -euo pipefail
umask 077

directory=${1:?which directory}
host=${2:?which name clients know the proxy by}
shift 2
mkdir -p "$directory"
cd "$directory"

key() { [ -e "$1.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

if [ ! -e ca.pem ]; then
  key ca
  openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=Tradewind authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.pem
fi

certificate() {
  [ -e "$1.pem" ] && return
  key "$1"
  extensions=$(printf 'subjectAltName=DNS:%s,DNS:%s,DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth' "$1" "$host")
  openssl req -new -key "$1.key" -subj "/CN=$1" |
    openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile <(printf '%s\n' "$extensions") -out "$1.pem" 2>/dev/null
}

token() {
  [ -e "$1.token" ] && return
  openssl rand -hex 24 >"$1.token"
  printf '%s sha256:%s\n' "$1" "$(tr -d '\n' <"$1.token" | sha256sum | cut -d ' ' -f 1)" >>tokens
}

for service in carbon_service selector_service inference_proxy; do
  certificate "$service"
  token "$service"
done
for caller in operator "$@"; do
  token "$caller"
done
