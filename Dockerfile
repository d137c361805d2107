# whisper-merge for a lab box (CUDA) or any machine (CPU).
#   docker build -t whisper-merge .                               CUDA build of torch from the package index
#   docker build -t whisper-merge --build-arg TORCH_INDEX=URL .    CPU build, URL being the index of torch's CPU wheels
#   docker run --gpus all -p 7860:7860 -v /srv/models:/models:ro -v whisper-merge:/data whisper-merge
FROM python:3.12-slim-bookworm AS build
ARG TORCH_INDEX=""
COPY requirements.txt /tmp/requirements.txt
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -r /tmp/requirements.txt

# No compiler in here: merging to disk then runs on numpy, slower than the compiled kernels and equal to the bit.
FROM python:3.12-slim-bookworm
RUN useradd --uid 1000 --create-home user && mkdir /data /models && chown user /data
COPY --from=build /venv /venv
COPY --chown=root:root . /app
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    WHISPER_MERGE_DATA=/data \
    WHISPER_MERGE_MODEL_ROOTS=/models \
    HF_HOME=/data/huggingface
WORKDIR /app
USER user
EXPOSE 7860
VOLUME ["/data", "/models"]
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=4)"]
CMD ["python", "app.py"]
