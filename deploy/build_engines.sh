#!/usr/bin/env bash
# Fills a folder with a model repository whose networks are TensorRT plans for the GPU that this runs on.
set -euo pipefail

cd /opt/faceparam
models=${FACEPARAM_MODELS:-/engines}
cp -R model_repository/. "$models"
exec python3 -m export.build_engines --backend tensorrt --model-repository "$models"
