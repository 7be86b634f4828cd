#!/bin/sh
# Installs a lock's wheels for a machine that need not be this one, into /rootfs/opt/venv.
#
#   install_locked ARCHITECTURE LOCK [LOCK_OF_ANOTHER_LAYER]
#
# What the second lock names is checked together with the rest, and then left to its own layer.
set -eu
architecture=$1 lock=$2 without=${3:-}

if [ -s /run/ca.pem ]; then export SSL_CERT_FILE=/run/ca.pem; fi
case "$architecture" in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) echo "There are images for amd64 and arm64, not for $architecture." >&2; exit 1 ;;
esac

if [ -n "$without" ]; then export UV_COMPILE_BYTECODE=0; fi
uv venv --quiet /opt/venv
uv pip install --quiet --python /opt/venv --python-platform "$machine-manylinux_2_28" \
    --only-binary :all: --require-hashes --no-deps -r "requirements/$lock.txt"
find /opt/venv/bin -mindepth 1 ! -name 'python*' -delete
python3 -B docker/trim.py /opt/venv
python3 -B docker/verify_elf.py "$architecture" /opt/venv /target
if [ -n "$without" ]; then
    uv pip uninstall --quiet --python /opt/venv -r "requirements/$without.txt"
    python3 -m compileall -q --invalidation-mode unchecked-hash /opt/venv/lib
    # What makes the folder an environment comes with the other layer.
    rm -rf /opt/venv/bin /opt/venv/lib64 /opt/venv/pyvenv.cfg
fi
rm -f /opt/venv/.gitignore /opt/venv/.lock /opt/venv/CACHEDIR.TAG
find /opt/venv -type d -empty -delete
install -d /opt/venv /rootfs/opt
mv /opt/venv /rootfs/opt/
