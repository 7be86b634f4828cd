#!/bin/sh
# `make docker-push` by another name; what is behind it goes to make, as REGISTRY=registry.example.com does.
cd "$(dirname "$0")/.." && exec make --no-print-directory docker-push "$@"
