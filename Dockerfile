# lipsync in a box:
#   docker build -t lipsync .                                      # computes on the CPU
#   docker build -t lipsync --build-arg TORCH=cu130 .              # on NVIDIA GPUs: docker run --gpus all ...
#   docker run --rm -v "$PWD:/work" --user "$(id -u):$(id -g)" lipsync dub target.mp4 speech.wav -o out.mp4
# What is learnt of a target lies in /cache: -v lipsync-cache:/cache keeps it.

ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
# Which build of PyTorch: cpu, cu130, ..., as `uv --torch-backend` names them.
ARG TORCH=cpu
ARG EXTRAS=provenance,loudness,onnx
ENV UV_LINK_MODE=copy UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1
RUN pip install --no-cache-dir "uv>=0.8,<1" && uv venv /opt/lipsync
WORKDIR /source
COPY pyproject.toml ci-constraints.txt README.md LICENSE NOTICE ./
COPY media media
COPY audio audio
COPY video video
COPY lipsync lipsync
RUN uv pip install --python /opt/lipsync --torch-backend "${TORCH}" --constraint ci-constraints.txt ".[${EXTRAS}]"

FROM python:${PYTHON}-slim-bookworm
# What OpenCV loads. Debian's own versions: a release of Debian changes them only for security.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libegl1 libgles2 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/lipsync /opt/lipsync
# Any user may run it, also one without a name (--user): what it keeps and compiles lies in /cache.
RUN useradd --create-home --uid 1000 lipsync && install -d -m 1777 /cache /work
ENV PATH=/opt/lipsync/bin:$PATH \
    LIPSYNC_CACHE=/cache/lipsync \
    NUMBA_CACHE_DIR=/cache/numba \
    MPLCONFIGDIR=/cache/matplotlib
USER 1000
WORKDIR /work
VOLUME /cache
ENTRYPOINT ["lipsync"]
CMD ["--help"]
