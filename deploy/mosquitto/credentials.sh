#!/usr/bin/env bash
# Makes what the broker and its users sign in with: credentials.sh DIRECTORY HOSTNAME [PUBLISHER ...]
# An authority, the broker's certificate for HOSTNAME, a password for every service and publisher (in DIRECTORY/NAME.password)
# and a certificate for every publisher. What is there already is kept, so it may be run again for another publisher.
set -euo pipefail
umask 077

directory=${1:?which directory}
host=${2:?which name clients know the broker by}
shift 2
mkdir -p "$directory"
cd "$directory"

key() { [ -e "$1.key" ] || openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

if [ ! -e ca.pem ]; then
  key ca
  openssl req -x509 -new -key ca.key -days 3650 -subj "/CN=Tradewind broker authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign" -out ca.pem
fi

# certificate NAME COMMON_NAME EXTENSIONS
certificate() {
  [ -e "$1.pem" ] && return
  key "$1"
  openssl req -new -key "$1.key" -subj "/CN=$2" |
    openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 825 -extfile <(printf '%s\n' "$3") -out "$1.pem" 2>/dev/null
}

password() {
  [ -e "$1.password" ] && return
  openssl rand -hex 24 >"$1.password"
  touch passwords
  mosquitto_passwd -b passwords "$1" "$(cat "$1.password")"
}

names="DNS:$host,DNS:localhost,IP:127.0.0.1"
certificate server "$host" "$(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth' "$names")"
for service in carbon_service selector_service inference_proxy monitor; do
  password "$service"
done
for publisher in "$@"; do
  password "$publisher"
  certificate "$publisher" "$publisher" "extendedKeyUsage=clientAuth"
done

# What docker-compose.secure.yml reads, so that no password is in a file that is shared.
for service in carbon_service selector_service inference_proxy; do
  printf '%s_PASSWORD=%s\n' "${service^^}" "$(cat "$service.password")"
done >services.env
