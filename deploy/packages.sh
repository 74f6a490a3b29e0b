#!/bin/sh
# Runs a command of an image build with what the building host knows of package indexes, proxies and certificates: two
# secrets of the build, which stay in no layer. See build.sh.
set -eu
if [ -s /run/secrets/settings ]; then . /run/secrets/settings; fi
if [ -s /run/secrets/certificates ]; then
    export SSL_CERT_FILE=/run/secrets/certificates PIP_CERT=/run/secrets/certificates
fi
exec "$@"
