# The page of `unmingle serve`: docker build -t unmingle . && docker run --rm -p 127.0.0.1:7860:7860 unmingle
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m venv /opt/unmingle && /opt/unmingle/bin/pip install --no-cache-dir ".[web]"

FROM python:3.11-slim
COPY --from=build /opt/unmingle /opt/unmingle
RUN useradd --create-home --uid 1000 unmingle && install -d -o unmingle /recordings /models
USER unmingle
# Where visitors' recordings and imported models lie.
ENV PATH=/opt/unmingle/bin:$PATH TMPDIR=/recordings UNMINGLE_MODELS=/models PYTHONUNBUFFERED=1
VOLUME ["/recordings", "/models"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:7860/', timeout=5)"]
STOPSIGNAL SIGTERM
CMD ["unmingle", "serve", "--host", "0.0.0.0"]
