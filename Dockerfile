# The service: docker build --tag recfuse . ; models are kept in a volume. With a database and retraining: compose.yaml.
FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY recfuse_lib recfuse_lib
COPY data data
# The first model is fitted in the same image; a service that only serves needs neither TensorFlow nor Keras.
RUN pip install --no-cache-dir --constraint constraints.txt --editable ".[serve]" \
    && useradd --create-home --uid 1000 recfuse \
    && mkdir /state && chown recfuse /state
USER recfuse
ENV RECFUSE_HOST=0.0.0.0 RECFUSE_CACHE=/state
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30m \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=2)"]
CMD ["sh", "-c", "test -e /state/movielens/manifest.json || recfuse fit ml-small --out /state/movielens; exec recfuse serve ${MODEL:-/state/movielens}"]
