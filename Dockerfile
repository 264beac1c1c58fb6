# One image for the API, the workers and the demo model: `docker run readalong readalong api --host 0.0.0.0`.

FROM python:3.13-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/readalong
WORKDIR /src
# The lock first: a change of the code does not install everything again.
COPY requirements-runtime.lock ./
RUN /opt/readalong/bin/pip install --require-hashes -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY readalong readalong
COPY api api
COPY worker worker
COPY clients clients
# The build backend is in the lock, too.
RUN /opt/readalong/bin/pip install --no-deps --no-build-isolation . \
    && /opt/readalong/bin/python -m compileall -q /opt/readalong/lib

FROM python:3.13-slim
RUN useradd --system --no-create-home --uid 10001 readalong
COPY --from=build /opt/readalong /opt/readalong
ENV PATH=/opt/readalong/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER readalong
WORKDIR /tmp
EXPOSE 8000
CMD ["readalong", "--help"]
