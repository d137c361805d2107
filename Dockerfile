# whisper-merge for a lab's box; docs/deploy.md has the steps, compose.yaml runs it.
#   docker build -t whisper-merge .                                 with CUDA
#   docker build -t whisper-merge:cpu --build-arg VARIANT=cpu .     without
# Everything that is installed comes from requirements/$VARIANT.lock and is checked against the hashes there.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ARG VARIANT=cuda
# The page or folder with torch's CPU wheels; CUDA's wheels are on the package index itself.
ARG TORCH_CPU=https://download.pytorch.org/whl/cpu/torch/
# The compiler stays in this stage; Debian keeps only its newest version, so it is not pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/${VARIANT}.lock /build/packages.lock
RUN python3 -m venv /build/pip \
    && python3 -m venv --without-pip /opt/venv \
    && if [ "$VARIANT" = cpu ]; then set -- --find-links "$TORCH_CPU"; fi \
    && /build/pip/bin/pip --python /opt/venv/bin/python install --no-cache-dir --require-hashes "$@" -r /build/packages.lock
WORKDIR /app
COPY . .
# What a compiler would be needed for at run time: the merge's kernels for every level of processor, Triton's launcher.
RUN /opt/venv/bin/python -m merger.prebuilt /opt/kernels \
    && /opt/venv/bin/python -m deploy.triton_launcher /opt/triton \
    && /opt/venv/bin/python -m compileall -q .

FROM ${PYTHON_IMAGE}
RUN useradd --uid 1000 --no-create-home --home-dir /data --shell /usr/sbin/nologin app \
    && install --directory --owner=1000 --group=1000 --mode=0750 /data /exports \
    && install --directory /models
COPY --from=build /opt /opt
COPY --from=build /app /app
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/data \
    HF_HOME=/data/huggingface \
    NUMBA_CACHE_DIR=/data/cache/numba \
    TRITON_CACHE_DIR=/data/cache/triton \
    GRADIO_TEMP_DIR=/data/incoming \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    WHISPER_MERGE_KERNELS=/opt/kernels \
    WHISPER_MERGE_CACHE=/data/cache \
    WHISPER_MERGE_DATA=/data \
    WHISPER_MERGE_EXPORT_ROOT=/exports \
    WHISPER_MERGE_MODEL_ROOTS=/models:/exports
WORKDIR /app
USER 1000:1000
EXPOSE 7860
VOLUME ["/data", "/exports", "/models"]
# Runs a real kernel; 503 while the device does not answer.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s --retries=3 \
    CMD ["python", "-m", "deploy.probe", "http://127.0.0.1:7860/healthz"]
ENTRYPOINT ["/app/deploy/entrypoint.sh"]
CMD ["python", "app.py"]
